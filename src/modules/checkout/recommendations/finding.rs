//! Computes recommendations.

use std::collections::{BTreeMap, BTreeSet};

use mongodb::{Database, error::Result};

use super::cache::Cache;
use crate::{
    modules::{
        catalog::{CatalogStore, Product},
        checkout::store::{CheckoutStore, PastCart},
    },
    platform::redis::Redis,
};

/// Products in one answer.
const SHOWN_MAX: usize = 20;
/// How many of the caller's latest checkouts are read.
const OWN_CARTS: i64 = 100;
/// How many products of those checkouts are used, the latest first.
const OWN_PRODUCTS: usize = 20;
/// How many of the latest stock movements of each of these products are read.
const MOVEMENTS_EACH: i64 = 50;
/// How many other buyers are compared: those who share most products with the caller.
const BUYERS: usize = 100;
/// How many of the latest checkouts of each of these buyers are read.
const CARTS_EACH: i64 = 10;
/// How many candidates are found at most.
const FOUND_MAX: usize = 200;
/// How many of them are kept, more than are shown: products may be sold out of the catalog, or bought, before they are shown.
const KEPT_MAX: usize = 60;

#[derive(Clone, Debug)]
pub struct Recommendations {
    checkouts: CheckoutStore,
    catalog: CatalogStore,
    cache: Cache,
}

impl Recommendations {
    /// Over `db`, kept for a while in `redis`.
    #[must_use]
    pub fn new(db: &Database, redis: &Redis) -> Self {
        let (checkouts, catalog) = (CheckoutStore::new(db.clone()), CatalogStore::new(db.clone()));
        Self { checkouts, catalog, cache: Cache::new(redis.clone()) }
    }

    /// For `user_id`: products that are offered, the best first.
    pub(super) async fn products(&self, user_id: &str) -> Result<Vec<Product>> {
        let ids = match self.cache.get(user_id).await {
            Some(ids) => ids,
            None => {
                let ids = self.find(user_id).await?;
                self.cache.put(user_id, &ids).await;
                ids
            }
        };
        let own = self.checkouts.asked_for(user_id, &ids).await?;
        let mut offered = self.catalog.offered(&ids).await?;
        let mut products: Vec<Product> = ids.iter().filter_map(|id| offered.remove(id)).collect();
        products.retain(|product| !own.contains(&product.id));
        products.truncate(SHOWN_MAX);
        Ok(products)
    }

    async fn find(&self, user_id: &str) -> Result<Vec<String>> {
        let own = self.checkouts.latest_carts(&[user_id.to_owned()], OWN_CARTS).await?;
        let own = latest_products(&own);
        if own.is_empty() {
            return Ok(Vec::new());
        }
        let sales = self.catalog.latest_sales(&own, MOVEMENTS_EACH).await?;
        let mut carts = self.checkouts.carts(&sales).await?;
        let buyers = closest(user_id, &own, &carts);
        carts.extend(self.checkouts.latest_carts(&buyers, CARTS_EACH).await?);
        let found = rank(user_id, &own, &carts);
        let asked_for = self.checkouts.asked_for(user_id, &found).await?;
        Ok(found.into_iter().filter(|id| !asked_for.contains(id)).take(KEPT_MAX).collect())
    }
}

/// Each product of these carts once, the latest first.
fn latest_products(carts: &[PastCart]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let products = carts.iter().filter(|cart| cart.is_bought()).flat_map(|cart| cart.products());
    products.filter(|id| seen.insert(*id)).take(OWN_PRODUCTS).map(str::to_owned).collect()
}

/// Products that each other buyer has bought.
fn bought<'a>(user_id: &str, carts: &'a [PastCart]) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut bought: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let others =
        carts.iter().filter(|cart| cart.is_bought() && cart.user_id != user_id && cart.user_id != cart.seller_id);
    for cart in others {
        bought.entry(&cart.user_id).or_default().extend(cart.products());
    }
    bought
}

/// Buyers who bought the most of `own`.
fn closest(user_id: &str, own: &[String], carts: &[PastCart]) -> Vec<String> {
    let bought = bought(user_id, carts);
    let shared =
        bought.iter().map(|(buyer, products)| (own.iter().filter(|id| products.contains(id.as_str())).count(), *buyer));
    let mut shared: Vec<_> = shared.filter(|(count, _)| *count > 0).collect();
    // Of equals those whose accounts are younger.
    shared.sort_unstable_by(|one, other| other.cmp(one));
    shared.into_iter().take(BUYERS).map(|(_, buyer)| buyer.to_owned()).collect()
}

/// Products that at least two others have bought who bought something of `own`: what most of them bought first, of that what those bought
/// who share the most with the caller, of that the youngest.
fn rank(user_id: &str, own: &[String], carts: &[PastCart]) -> Vec<String> {
    let own: BTreeSet<&str> = own.iter().map(String::as_str).collect();
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for products in bought(user_id, carts).values() {
        let shared = products.intersection(&own).count();
        if shared > 0 {
            for id in products.difference(&own) {
                let (buyers, weight) = counts.entry(*id).or_default();
                *buyers += 1;
                *weight += shared;
            }
        }
    }
    let mut found: Vec<_> =
        counts.into_iter().filter(|(_, (buyers, _))| *buyers >= 2).map(|(id, by)| (by, id)).collect();
    found.sort_unstable_by(|one, other| other.cmp(one));
    found.into_iter().take(FOUND_MAX).map(|(_, id)| id.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::checkout::{CheckoutStatus, store::PastItem};

    fn cart(buyer: &str, products: &[&str]) -> PastCart {
        let items = products.iter().map(|id| PastItem { product_id: (*id).to_owned() }).collect();
        PastCart { user_id: buyer.into(), seller_id: "seller".into(), status: CheckoutStatus::Completed, items }
    }

    fn ranked(own: &[&str], carts: &[PastCart]) -> Vec<String> {
        rank("me", &own.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>(), carts)
    }

    #[test]
    fn what_two_others_bought_with_it_is_recommended() {
        let carts = [
            cart("a", &["x", "y", "z"]),
            // In carts of their own too, and however often.
            cart("b", &["x"]),
            cart("b", &["y"]),
            cart("b", &["y", "x"]),
            cart("c", &["y", "z", "w"]),
            cart("me", &["x", "q"]),
        ];
        assert_eq!(ranked(&["x"], &carts), ["y"]);
        assert_eq!(ranked(&["x", "y"], &carts), ["z"]);
        assert_eq!(ranked(&["w"], &carts), [""; 0]);
        assert_eq!(ranked(&[], &carts), [""; 0]);
    }

    #[test]
    fn what_was_not_bought_and_what_merchants_enter_does_not_count() {
        let with = |status| PastCart { status, ..cart("b", &["x", "y"]) };
        for (other, expected) in [
            (with(CheckoutStatus::Paid), vec!["y"]),
            (with(CheckoutStatus::Completed), vec!["y"]),
            (with(CheckoutStatus::Pending), vec![]),
            (with(CheckoutStatus::Cancelled), vec![]),
            (with(CheckoutStatus::PaymentFailed), vec![]),
            (cart("seller", &["x", "y"]), vec![]),
            (cart("me", &["x", "y"]), vec![]),
        ] {
            assert_eq!(ranked(&["x"], &[cart("a", &["x", "y"]), other.clone()]), expected, "{other:?}");
        }
    }

    #[test]
    fn what_most_of_the_closest_bought_is_first() {
        let carts = [
            cart("a", &["x", "p"]),
            cart("b", &["x", "p", "q"]),
            cart("c", &["x", "y", "q", "r"]),
            cart("d", &["x", "y", "r", "p"]),
        ];
        assert_eq!(ranked(&["x", "y"], &carts), ["p", "r", "q"]);
        let own = ["x".to_owned(), "y".to_owned()];
        assert_eq!(closest("me", &own, &carts), ["d", "c", "b", "a"]);
        assert_eq!(closest("d", &own, &carts), ["c", "b", "a"]);
    }
}
