//! A stand-in of a mail server. It takes every mail and delivers none: what came is on its mailbox page, `/mail`, and in its books.
//!
//! It speaks real SMTP on a port of its own. Whoever signs in (`AUTH`, any password) has the namespace of that name, everybody
//! else the shared one. The control API below `/mail` in each namespace:
//!
//! | path | |
//! |---|---|
//! | `GET`, `DELETE _books` | sums; forgets everything |
//! | `GET _books/mails` | all mails; `?to=address` gives those to it |
//! | `GET`, `POST`, `DELETE _control/rules` | see [`crate::rules`]; operations are `auth`, `mail`, `rcpt`, `data` and `message` |
//! | `PUT _control/deduplicate` | `{"on": true}`: a second mail with a `Message-ID` that is known is taken, and not kept |
//!
//! Modes: `ok`, `hang`, `drop`, `hang_after_work`, `drop_after_work` and the codes of [`modes::Reply`].

mod books;
mod modes;
mod page;
mod posts;
mod session;
#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;

pub use posts::Posts;

/// Where it is below a namespace.
pub const PATH: &str = "/mail";
/// Pause after a failed accept, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Posts {
    /// The page and the control API of the namespace below `base`.
    pub fn router(&self, base: &str) -> Router {
        let name = base.rsplit('/').next().unwrap_or_default();
        Router::new().nest(PATH, page::router(self.of(name), &format!("{base}{PATH}")))
    }

    /// Talks to everybody who comes, until the future is dropped.
    pub async fn serve(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let posts = self.clone();
                    tokio::spawn(async move {
                        if let Err(error) = session::talk(stream, &posts).await {
                            tracing::debug!(%error, "a conversation ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
