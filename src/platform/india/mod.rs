//! States and postal codes of India: what people write in an address, and whether it fits together.

pub mod pincodes;
pub mod states;
