//! Who a merchant is: identifiers, names and places as Indian authorities write them.

pub mod identifiers;
pub mod names;
pub mod states;
