//! The rate cards in memory.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mongodb::{
    Database,
    error::{Error, Result},
};
use parking_lot::RwLock;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{
    card::RateCard,
    cards::{Card, in_force},
    fees::FeeCard,
    store,
};
use crate::platform::clock::Clock;

/// Cards older than this are looked at again in the background.
const REFRESH_AFTER: Duration = Duration::from_secs(10);
/// After a quiet time as long as this nothing is priced before the cards were looked at: a card may have come meanwhile.
const STALE_AFTER: Duration = Duration::from_secs(60);
/// A look that takes longer has failed; else one that hangs would be the last one.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

type Cards = Arc<[Card]>;

/// Finds the card in force without asking the database each time. Cloning gives the same cache.
///
/// A new card is seen by a process in use after 10 s, and after that it is in force for all from its `effectiveFrom` on:
/// so a change of prices that lies a minute ahead happens everywhere at once.
#[derive(Clone, Debug)]
pub struct RateCards {
    shared: Arc<CacheState>,
}

#[derive(Debug)]
struct CacheState {
    db: Database,
    clock: Clock,
    cached: RwLock<Option<Cached>>,
    /// Held by the one who looks; keeps what came of the last look, for those who waited for it.
    looking: Arc<Mutex<Option<CardRead>>>,
}

#[derive(Debug)]
struct Cached {
    cards: Cards,
    /// When they were last looked at, with or without success.
    looked: Instant,
}

#[derive(Debug)]
struct CardRead {
    ended: Instant,
    outcome: Result<Cards>,
}

impl RateCards {
    /// A cache over `db`; asks it when first used.
    #[must_use]
    pub fn new(db: Database, clock: Clock) -> Self {
        Self { shared: Arc::new(CacheState { db, clock, cached: RwLock::default(), looking: Arc::default() }) }
    }

    /// The card for parcels by which orders for `provider` are priced now.
    ///
    /// # Errors
    /// As [`RateCards::current`].
    pub async fn parcels(&self, provider: &str) -> Result<Option<Arc<RateCard>>> {
        Ok(self.current(provider).await?.and_then(|card| match card {
            Card::Parcels(card) => Some(card),
            Card::Fees(_) => None,
        }))
    }

    /// The fixed fees by which orders for `provider` are priced now.
    ///
    /// # Errors
    /// As [`RateCards::current`].
    pub async fn fees(&self, provider: &str) -> Result<Option<Arc<FeeCard>>> {
        Ok(self.current(provider).await?.and_then(|card| match card {
            Card::Fees(card) => Some(card),
            Card::Parcels(_) => None,
        }))
    }

    /// The card by which orders for `provider` are priced now; `None` where it has none that is in effect.
    ///
    /// # Errors
    /// What the driver says, while nothing is in memory; later the old cards serve until they can be read again.
    pub async fn current(&self, provider: &str) -> Result<Option<Card>> {
        if let Some((card, age)) = self.shared.remembered(provider) {
            if age >= REFRESH_AFTER {
                self.refresh();
            }
            return Ok(card);
        }
        let cards = self.shared.look().await?;
        Ok(in_force(&cards, provider, self.shared.clock.now()).cloned())
    }

    /// Looks in a task of its own, unless somebody is at it.
    fn refresh(&self) {
        if let Ok(turn) = Arc::clone(&self.shared.looking).try_lock_owned() {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                // A failure is logged where the old cards are kept.
                let _ = shared.look_now(turn).await;
            });
        }
    }
}

impl CacheState {
    /// The card in force by what is in memory, and the age of that; `None` where the database has to be asked first.
    fn remembered(&self, provider: &str) -> Option<(Option<Card>, Duration)> {
        let cached = self.cached.read();
        // No cards at all is not remembered: `waybill migrate` is about to bring some.
        let cached = cached.as_ref().filter(|cached| !cached.cards.is_empty())?;
        let age = cached.looked.elapsed();
        (age < STALE_AFTER).then(|| (in_force(&cached.cards, provider, self.clock.now()).cloned(), age))
    }

    /// The cards of the database, or those in memory when it can't be read. Concurrent callers share one read.
    async fn look(&self) -> Result<Cards> {
        let asked = Instant::now();
        let turn = Arc::clone(&self.looking).lock_owned().await;
        match &*turn {
            Some(look) if look.ended >= asked => look.outcome.clone(),
            _ => self.look_now(turn).await,
        }
    }

    async fn look_now(&self, mut turn: OwnedMutexGuard<Option<CardRead>>) -> Result<Cards> {
        let loaded = match tokio::time::timeout(LOOK_TIMEOUT, store::load(&self.db)).await {
            Ok(loaded) => loaded,
            Err(_) => Err(Error::from(std::io::Error::from(std::io::ErrorKind::TimedOut))),
        };
        let outcome = self.settle(loaded);
        *turn = Some(CardRead { ended: Instant::now(), outcome: outcome.clone() });
        outcome
    }

    fn settle(&self, loaded: Result<Vec<Card>>) -> Result<Cards> {
        let mut cached = self.cached.write();
        let looked = Instant::now();
        match (loaded, cached.as_mut().filter(|old| !old.cards.is_empty())) {
            (Ok(loaded), _) => {
                let cards: Cards = loaded.into();
                *cached = Some(Cached { cards: Arc::clone(&cards), looked });
                Ok(cards)
            }
            (Err(error), Some(old)) => {
                tracing::warn!(%error, "the rate cards can't be read; the old ones stay");
                // Not again at once: the next try is as far away as after a success.
                old.looked = looked;
                Ok(Arc::clone(&old.cards))
            }
            (Err(error), None) => Err(error),
        }
    }
}

#[cfg(test)]
impl RateCards {
    /// A cache that was filled so long ago; its database is never there.
    pub(super) async fn remembering(cards: Vec<RateCard>, age: Duration) -> Self {
        let nowhere = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300&connectTimeoutMS=300";
        let db = mongodb::Client::with_uri_str(nowhere).await.expect("a URI").database("nowhere");
        let rates = Self::new(db, Clock::default());
        let looked = Instant::now().checked_sub(age).expect("the host runs for longer");
        let cards = cards.into_iter().map(Card::from).collect();
        *rates.shared.cached.write() = Some(Cached { cards, looked });
        rates
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// How long ago the last look was, once nobody is at it.
    pub(super) async fn looked_ago(&self) -> Option<Duration> {
        let _turn = self.shared.looking.lock().await;
        self.shared.cached.read().as_ref().map(|cached| cached.looked.elapsed())
    }
}
