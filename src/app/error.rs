//! Why an application can not be put together.

/// Why the parts could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting is missing or wrong.
    #[error("{0}")]
    Config(String),
    /// The MongoDB URI can't be read.
    #[error("MONGODB_URI can't be used: {0}")]
    Mongo(#[from] mongodb::error::Error),
    /// The Redis URL can't be read.
    #[error("REDIS_URL can't be used: {0}")]
    Redis(#[from] ::redis::RedisError),
    /// The HTTP client can't be set up.
    #[error("the HTTP client can't be set up: {0}")]
    Exchange(#[from] reqwest::Error),
}
