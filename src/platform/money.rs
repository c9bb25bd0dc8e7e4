//! Money: whole minor units with a currency, never a float. Arithmetic is checked; nothing wraps.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

/// One amount is at most this many minor units: a thousand of them fit into a balance.
pub const AMOUNT_MAX: i64 = 1_000_000_000_000_000;

/// A currency of ISO 4217 that has minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// Indian rupee.
    pub const INR: Self = Self(iso_currency::Currency::INR);

    /// The currency named by three capital letters; `None` for what is not one, or has no minor units (gold, test codes).
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        let currency = iso_currency::Currency::from_code(code)?;
        currency.exponent().map(|_| Self(currency))
    }

    /// `INR`, ...
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Decimal digits of the minor unit (ISO 4217): 0 for JPY, 2 for INR, 3 for KWD.
    #[must_use]
    pub fn exponent(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_code(&code).ok_or_else(|| de::Error::custom("must be a currency code of ISO 4217, such as INR"))
    }
}

impl PartialSchema for Currency {
    fn schema() -> RefOr<Schema> {
        let code = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Z]{3}$"));
        code.description(Some("ISO 4217")).examples(["INR"]).into()
    }
}

impl ToSchema for Currency {}

/// An amount in a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Minor units.
    pub amount: i64,
    /// ISO 4217.
    pub currency: Currency,
}

impl Money {
    /// So many minor units.
    #[must_use]
    pub const fn new(amount: i64, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// The amount in the major unit with all its decimals, as people and spreadsheets read it: `-12.34`.
    #[must_use]
    pub fn to_decimal(self) -> String {
        let digits = self.currency.exponent();
        if digits == 0 {
            return self.amount.to_string();
        }
        let unit = 10_u64.pow(digits);
        let (whole, rest) = (self.amount.unsigned_abs() / unit, self.amount.unsigned_abs() % unit);
        let sign = if self.amount < 0 { "-" } else { "" };
        format!("{sign}{whole}.{rest:0width$}", width = digits as usize)
    }
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.to_decimal(), self.currency.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(amount: i64, code: &str) -> Money {
        Money::new(amount, Currency::from_code(code).expect("a currency"))
    }

    #[test]
    fn the_minor_unit_is_the_currencys() {
        for (amount, code, decimal) in [
            (5, "JPY", "5"),
            (-1234, "JPY", "-1234"),
            (5, "INR", "0.05"),
            (-123_456, "INR", "-1234.56"),
            (5, "KWD", "0.005"),
            (1_000, "KWD", "1.000"),
            (i64::MIN, "INR", "-92233720368547758.08"),
        ] {
            assert_eq!(money(amount, code).to_decimal(), decimal, "{amount} {code}");
        }
        assert_eq!(money(100, "INR").to_string(), "1.00 INR");
    }

    #[test]
    fn what_is_no_currency_is_refused() {
        for bad in ["", "inr", "INRX", "RUPEE", "XXX", "XAU", "ZZZ"] {
            assert_eq!(Currency::from_code(bad), None, "{bad}");
            assert!(serde_json::from_value::<Currency>(serde_json::json!(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_are_integers_on_the_wire() {
        let read = |text: &str| serde_json::from_str::<Money>(text);
        assert_eq!(read(r#"{"amount":5,"currency":"INR"}"#).expect("money"), money(5, "INR"));
        for bad in ["1.5", "1e3", "\"5\"", "9223372036854775808", "null"] {
            assert!(read(&format!(r#"{{"amount":{bad},"currency":"INR"}}"#)).is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&money(5, "KWD")).expect("JSON"), r#"{"amount":5,"currency":"KWD"}"#);
    }
}
