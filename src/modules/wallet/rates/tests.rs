//! Zones, weights, fees and cards.

use bson::{Bson, DateTime};
use proptest::prelude::*;

use super::*;
use crate::{
    modules::providers::{ParcelDimensions, PaymentMode, Service},
    platform::money::{AMOUNT_MAX, Currency},
};

const DEFAULT: &str = include_str!("../../../../data/rate-cards/parcelx-1.json");

pub(super) fn card() -> RateCard {
    match parse_card(DEFAULT) {
        Ok(Card::Parcels(card)) => (*card).clone(),
        other => panic!("the default card is not usable: {other:?}"),
    }
}

const OKHLA: &str = "110020";
const ROHINI: &str = "110085";
const BENGALURU: &str = "560001";
const MYSURU: &str = "570001";
const JAIPUR: &str = "302001";
const KOCHI: &str = "682001";
const KANNUR: &str = "670001";

/// A parcel of this dead weight that is small, goes by road within Delhi and is paid for.
fn parcel(weight_grams: i64) -> PricedParcel<'static> {
    PricedParcel {
        service: Service::Surface,
        payment_mode: PaymentMode::Prepaid,
        currency: "INR",
        cod_amount: 0,
        weight_grams,
        dimensions: ParcelDimensions { length: 10, width: 10, height: 10 },
        pickup: OKHLA,
        delivery: ROHINI,
    }
}

fn sized(weight_grams: i64, length: i32, width: i32, height: i32) -> PricedParcel<'static> {
    PricedParcel { dimensions: ParcelDimensions { length, width, height }, ..parcel(weight_grams) }
}

fn cod(cod_amount: i64) -> PricedParcel<'static> {
    PricedParcel { payment_mode: PaymentMode::Cod, cod_amount, ..parcel(400) }
}

fn pricing(parcel: &PricedParcel<'_>) -> Pricing {
    quote(&card(), parcel).expect("a price").pricing
}

fn zone(pickup: &str, delivery: &str) -> Zone {
    let there = zone_between(&card(), pickup, delivery).expect("a zone");
    assert_eq!(zone_between(&card(), delivery, pickup), Ok(there), "both ways cost the same");
    there
}

#[test]
fn each_zone_has_its_ways() {
    assert_eq!(zone(OKHLA, ROHINI), Zone::A);
    assert_eq!(zone(BENGALURU, MYSURU), Zone::B);
    assert_eq!(zone(OKHLA, BENGALURU), Zone::C);
    assert_eq!(zone(OKHLA, JAIPUR), Zone::D);
    assert_eq!(zone(JAIPUR, MYSURU), Zone::D);
    for special in [KOCHI, "781001", "795001", "737101", "744101", "171001", "194101"] {
        assert_eq!(zone(OKHLA, special), Zone::E, "{special}");
    }
    assert_eq!(zone(KOCHI, "171001"), Zone::E);
}

#[test]
fn the_first_rule_that_holds_decides() {
    // One district in two states: the district counts.
    assert_eq!(zone("160017", "160055"), Zone::A);
    // Within a special city or state it is near all the same.
    assert_eq!(zone(KOCHI, "682030"), Zone::A);
    assert_eq!(zone(KOCHI, KANNUR), Zone::B);
    // Two metros of one state: the state counts.
    assert_eq!(zone("400001", "411001"), Zone::B);
    // A metro in a special state, if there were one: special counts.
    let mut card = card();
    card.metro_pincode_prefixes.push("682".into());
    assert_eq!(zone_between(&card, OKHLA, KOCHI), Ok(Zone::E));
}

#[test]
fn a_longer_beginning_decides_what_a_shorter_one_shares() {
    // 737 is Sikkim, 73 is West Bengal.
    assert_eq!(zone(OKHLA, "734001"), Zone::D);
    // Uttar Pradesh and Uttarakhand share 247, Tamil Nadu and Puducherry 605, Kerala and Lakshadweep 682.
    assert_eq!(
        [zone("226001", "247001"), zone("226001", "247667"), zone("248001", "247667")],
        [Zone::B, Zone::D, Zone::B]
    );
    assert_eq!([zone("600001", "605101"), zone("600001", "605001")], [Zone::B, Zone::D]);
    assert_eq!([zone(KANNUR, "682555"), zone(KANNUR, "682030")], [Zone::E, Zone::B]);
    // The army's post offices are in no state.
    assert_eq!(zone("900056", "910001"), Zone::D);
}

#[test]
fn weight_is_paid_for_in_slabs() {
    for (weight_grams, slabs, freight) in
        [(1, 1, 3_500), (499, 1, 3_500), (500, 1, 3_500), (501, 2, 6_000), (1_000, 2, 6_000), (1_001, 3, 8_500)]
    {
        let priced = pricing(&parcel(weight_grams));
        assert_eq!((priced.slabs, priced.freight), (slabs, freight), "{weight_grams} g");
        assert_eq!(priced.chargeable_weight_grams, slabs * 500);
    }
}

#[test]
fn the_greater_of_dead_and_volumetric_weight_counts() {
    // 50 x 40 x 30 cm are 12 kg.
    assert_eq!(pricing(&sized(900, 50, 40, 30)).chargeable_weight_grams, 12_000);
    assert_eq!(pricing(&sized(12_001, 50, 40, 30)).chargeable_weight_grams, 12_500);
    // 25 x 10 x 10 cm are 500 g to the gram, and one centimetre more is over it.
    assert_eq!(pricing(&sized(1, 25, 10, 10)).slabs, 1);
    assert_eq!(pricing(&sized(1, 26, 10, 10)).slabs, 2);
    // 2501 cubic centimetres are 500.2 g: cutting that to whole grams would give a slab away.
    assert_eq!(pricing(&sized(500, 61, 41, 1)).slabs, 2);
}

#[test]
fn the_fee_for_cash_is_the_greater_of_flat_and_share() {
    for (cod_amount, fee) in [
        (1, 3_500),
        (175_000, 3_500),
        // 2 % are 3500.02, 3501 and 3501.02: rounded up.
        (175_001, 3_501),
        (175_050, 3_501),
        (175_051, 3_502),
        (1_000_000_000, 20_000_000),
    ] {
        let quoted = quote(&card(), &cod(cod_amount)).expect("a price");
        assert_eq!(quoted.pricing.cod_fee, fee, "{cod_amount}");
        assert_eq!(quoted.total.amount, quoted.pricing.freight + fee);
        assert_eq!(quoted.total.currency, Currency::INR);
    }
    assert_eq!(pricing(&PricedParcel { payment_mode: PaymentMode::Prepaid, ..cod(175_051) }).cod_fee, 0);
}

#[test]
fn a_price_says_how_it_came_about() {
    let far = PricedParcel { service: Service::Air, pickup: OKHLA, delivery: KOCHI, ..cod(10_000) };
    let expected = Pricing {
        rate_card: "parcelx-1".into(),
        zone: Some(Zone::E),
        chargeable_weight_grams: 500,
        slabs: 1,
        freight: 11_000,
        cod_fee: 3_500,
    };
    assert_eq!(pricing(&far), expected);
    let json = serde_json::to_value(&expected).expect("JSON");
    let stored = serde_json::json!({"rateCard": "parcelx-1", "zone": "E", "chargeableWeightGrams": 500, "slabs": 1,
        "freight": 11_000, "codFee": 3_500});
    assert_eq!(json, stored);
}

#[test]
fn what_makes_no_sense_has_no_price() {
    let refused = |parcel: PricedParcel<'_>| quote(&card(), &parcel).expect_err("no price");
    assert_eq!(refused(parcel(0)), QuoteError::Parcel("weight"));
    for (length, width, height) in [(0, 1, 1), (1, -1, 1), (-1, 1, -1)] {
        assert_eq!(refused(sized(1, length, width, height)), QuoteError::Parcel("dimensions"));
    }
    assert_eq!(refused(cod(0)), QuoteError::Parcel("amount to collect"));
    assert_eq!(refused(PricedParcel { currency: "USD", ..parcel(1) }), QuoteError::Currency);
    for pincode in ["", "11", "11002", "1100200", "11002x", "११००२०", "1१xx"] {
        assert_eq!(
            refused(PricedParcel { delivery: pincode, ..parcel(1) }),
            QuoteError::Parcel("postal code"),
            "{pincode}"
        );
    }
}

#[test]
fn nothing_wraps() {
    let refused = |parcel: PricedParcel<'_>| quote(&card(), &parcel).expect_err("no price");
    assert_eq!(refused(parcel(i64::MAX)), QuoteError::Overflow);
    assert_eq!(refused(sized(1, i32::MAX, i32::MAX, i32::MAX)), QuoteError::Overflow);
    assert_eq!(refused(cod(i64::MAX)), QuoteError::Overflow);
    // Countable, but more than may be booked.
    assert_eq!(refused(parcel(AMOUNT_MAX)), QuoteError::Overflow);
    let mut odd = card();
    odd.slab_grams = 0;
    assert_eq!(quote(&odd, &parcel(1)), Err(QuoteError::Overflow));
}

#[test]
fn the_dearest_card_prices_the_greatest_parcel() {
    let mut dearest = card();
    (dearest.slab_grams, dearest.volumetric_divisor) = (100, 1_000);
    dearest.services.surface.a = SlabPrice { first_slab: 1_000_000_000, additional_slab: 1_000_000_000 };
    dearest.cod_fee = CodFee { flat: 1_000_000_000, basis_points: 10_000 };
    assert_eq!(dearest.check(), Ok(()));
    let greatest =
        PricedParcel { dimensions: ParcelDimensions { length: 300, width: 300, height: 300 }, ..cod(1_000_000_000) };
    assert!(quote(&dearest, &PricedParcel { weight_grams: 100_000, ..greatest }).is_ok());
}

#[test]
fn the_default_card_is_dearer_the_farther_and_the_faster() {
    let card = card();
    assert_eq!((card.id.as_str(), card.currency), ("parcelx-1", Currency::INR));
    let both = |price: SlabPrice| [price.first_slab, price.additional_slab];
    for (near, far) in Zone::ALL.into_iter().zip(Zone::ALL.into_iter().skip(1)) {
        for prices in [card.services.surface, card.services.air] {
            let (near, far) = (both(prices.get(near)), both(prices.get(far)));
            assert!(near[0] < far[0] && near[1] < far[1], "{near:?} {far:?}");
        }
    }
    for zone in Zone::ALL {
        let (slow, fast) = (both(card.services.surface.get(zone)), both(card.services.air.get(zone)));
        assert!(slow[0] < fast[0] && slow[1] < fast[1], "{zone:?}");
        assert!(slow[1] <= slow[0] && fast[1] <= fast[0], "{zone:?}: a second slab is not dearer than the first");
    }
}

#[test]
fn a_card_is_stored_and_read_back() {
    let stored = bson::serialize_to_document(&card()).expect("BSON");
    assert_eq!(stored.get("_id"), Some(&Bson::from("parcelx-1")));
    assert!(matches!(stored.get("effectiveFrom"), Some(Bson::DateTime(_))));
    assert_eq!(stored.get("slabGrams"), Some(&Bson::Int64(500)));
    let air = stored.get_document("services").and_then(|services| services.get_document("air"));
    let far = air.and_then(|air| air.get_document("E")).expect("prices");
    assert_eq!(far.get("firstSlab"), Some(&Bson::Int64(11_000)));
    assert_eq!(bson::deserialize_from_document::<RateCard>(stored).expect("a card"), card());
}

/// The default card with the value at `path` replaced, or left out.
fn edited(path: &str, value: Option<serde_json::Value>) -> String {
    let mut file: serde_json::Value = serde_json::from_str(DEFAULT).expect("JSON");
    let (parent, name) = path.rsplit_once('/').expect("a path");
    let parent = file.pointer_mut(parent).and_then(|parent| parent.as_object_mut()).expect("an object");
    match value {
        Some(value) => drop(parent.insert(name.into(), value)),
        None => drop(parent.remove(name).expect("it is there")),
    }
    file.to_string()
}

#[test]
fn a_wrong_card_is_refused_by_name() {
    use serde_json::json;
    for (path, value, words) in [
        ("/services/air", None, "missing field `air`"),
        ("/services/air/E", None, "services.air: missing field `E`"),
        ("/services/air/F", Some(json!({})), "unknown field `F`"),
        ("/services/sea", Some(json!({})), "unknown field `sea`"),
        ("/note", Some(json!("hello")), "unknown field `note`"),
        ("/services/air/E/firstSlab", Some(json!(0)), "services.air.E.firstSlab: 0"),
        ("/services/surface/A/additionalSlab", Some(json!(-1)), "services.surface.A.additionalSlab: -1"),
        ("/services/surface/A/additionalSlab", Some(json!(25.5)), "services.surface.A.additionalSlab"),
        ("/services/surface/A/firstSlab", Some(json!(1_000_000_001)), "services.surface.A.firstSlab: 1000000001"),
        ("/provider", Some(json!("Parcel X")), "provider"),
        ("/version", Some(json!(0)), "version"),
        ("/currency", Some(json!("RUPEE")), "currency"),
        ("/effectiveFrom", Some(json!("soon")), "effectiveFrom"),
        ("/slabGrams", Some(json!(0)), "slabGrams"),
        ("/volumetricDivisor", Some(json!(5)), "volumetricDivisor"),
        ("/codFee/flat", Some(json!(-1)), "codFee.flat"),
        ("/codFee/basisPoints", Some(json!(10_001)), "codFee.basisPoints"),
        ("/metroPincodePrefixes", Some(json!([""])), "metroPincodePrefixes"),
        ("/specialPincodePrefixes", Some(json!(["17x"])), "specialPincodePrefixes: `17x`"),
        ("/specialPincodePrefixes", Some(json!(["017"])), "specialPincodePrefixes: `017`"),
        ("/specialStates", Some(json!(["12"])), "specialStates"),
        ("/specialStates", Some(json!(["Bavaria"])), "specialStates: `Bavaria` is no state"),
    ] {
        let fault = parse_card(&edited(path, value)).expect_err(path);
        assert!(fault.contains(words), "{path}: {fault}");
    }
    // Another spelling is the same state, and what older cards name is let be.
    let spelt = parse_card(&edited("/specialStates", Some(json!(["Orissa"])))).expect("a card");
    let Card::Parcels(spelt) = spelt else { panic!("{spelt:?}") };
    assert_eq!(spelt.special_states, ["odisha"]);
    assert!(parse_card(&edited("/stateAliases", Some(json!({"J&K": "Jammu and Kashmir"})))).is_ok());
    assert!(parse_card("{}{}").is_err());
    assert!(parse_card("[]").is_err());
    // What is read from the database was not normalised on the way.
    let mut odd = card();
    odd.special_states.push("Goa".into());
    assert!(odd.check().expect_err("not normalised").starts_with("specialStates: `Goa`"));
    let odd = RateCard { id: "parcelx-2".into(), ..card() };
    assert!(Card::from(odd).check().expect_err("another version").starts_with("_id"));
}

#[test]
fn the_highest_version_in_effect_is_in_force() {
    let version = |provider: &str, version: i64, from_ms: i64| {
        let effective_from = DateTime::from_millis(from_ms);
        let id = format!("{provider}-{version}");
        Card::from(RateCard { id, provider: provider.into(), version, effective_from, ..card() })
    };
    let cards = [
        version("parcelx", 2, 200),
        version("parcelx", 4, 400),
        version("parcelx", 3, 150),
        version("parcelx", 1, 100),
        version("other", 9, 0),
    ];
    let id = |provider, now_ms| in_force(&cards, provider, DateTime::from_millis(now_ms)).map_or("none", Card::id);
    for (now_ms, expected) in [
        (99, "none"),
        (100, "parcelx-1"),
        (149, "parcelx-1"),
        (150, "parcelx-3"),
        // Version 2 comes into effect later, and is older.
        (200, "parcelx-3"),
        (400, "parcelx-4"),
    ] {
        assert_eq!(id("parcelx", now_ms), expected, "{now_ms}");
    }
    assert_eq!(id("other", 400), "other-9");
    assert_eq!(id("nobody", 400), "none");
    assert!(in_force(&[], "parcelx", DateTime::from_millis(0)).is_none());
}

fn any_parcel() -> impl Strategy<Value = PricedParcel<'static>> {
    let ways = prop::sample::select(vec![
        (OKHLA, ROHINI),
        (BENGALURU, MYSURU),
        (OKHLA, BENGALURU),
        (OKHLA, JAIPUR),
        (OKHLA, KOCHI),
    ]);
    let cod_amount = prop_oneof![Just(0_i64), 1..=1_000_000_000_i64];
    (prop::bool::ANY, ways, cod_amount, 1..=100_000_i64, (1..=300_i32, 1..=300_i32, 1..=300_i32)).prop_map(
        |(air, (pickup, delivery), cod_amount, weight_grams, (length, width, height))| PricedParcel {
            service: if air { Service::Air } else { Service::Surface },
            payment_mode: if cod_amount > 0 { PaymentMode::Cod } else { PaymentMode::Prepaid },
            currency: "INR",
            cod_amount,
            weight_grams,
            dimensions: ParcelDimensions { length, width, height },
            pickup,
            delivery,
        },
    )
}

proptest! {
    #[test]
    fn every_acceptable_parcel_has_a_price_that_adds_up(parcel in any_parcel()) {
        let card = card();
        let Quote { total, pricing } = quote(&card, &parcel).expect("a price");
        prop_assert_eq!(total.amount, pricing.freight + pricing.cod_fee);
        prop_assert!((1..=AMOUNT_MAX).contains(&total.amount));
        // The slabs hold both weights, and one slab fewer would not. In thousandths of a gram, where all is whole.
        let ParcelDimensions { length, width, height } = parcel.dimensions;
        let volumetric = i64::from(length) * i64::from(width) * i64::from(height) * 1_000_000 / card.volumetric_divisor;
        let weight = volumetric.max(parcel.weight_grams * 1_000);
        let held = pricing.chargeable_weight_grams * 1_000;
        prop_assert!(weight <= held && weight > held - card.slab_grams * 1_000);
        if parcel.payment_mode == PaymentMode::Cod {
            // Rounded up: never less than the share, never a whole minor unit more.
            let share = parcel.cod_amount * card.cod_fee.basis_points;
            prop_assert!(pricing.cod_fee * 10_000 >= share && pricing.cod_fee >= card.cod_fee.flat);
            prop_assert!(pricing.cod_fee == card.cod_fee.flat || (pricing.cod_fee - 1) * 10_000 < share);
        }
    }

    #[test]
    fn more_weight_volume_or_cash_never_costs_less(parcel in any_parcel(), grams in 0..=5_000_i64, cm in 0..=20_i32) {
        let card = card();
        let before = quote(&card, &parcel).expect("a price").total.amount;
        let ParcelDimensions { length, width, height } = parcel.dimensions;
        let cod_amount = if parcel.cod_amount > 0 { parcel.cod_amount + grams } else { 0 };
        for more in [
            PricedParcel { weight_grams: parcel.weight_grams + grams, ..parcel },
            PricedParcel { dimensions: ParcelDimensions { length: length + cm, width: width + cm, height }, ..parcel },
            PricedParcel { cod_amount, ..parcel },
        ] {
            prop_assert!(quote(&card, &more).expect("a price").total.amount >= before);
        }
    }

    #[test]
    fn any_two_postal_codes_have_a_zone(pickup in "[1-9][0-9]{5}", delivery in "[1-9][0-9]{5}") {
        let card = card();
        let there = zone_between(&card, &pickup, &delivery);
        prop_assert!(there.is_ok());
        prop_assert_eq!(there, zone_between(&card, &delivery, &pickup));
    }
}
