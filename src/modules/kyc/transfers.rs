//! Documents on their way in and out: how many at once, so that nobody's slow line holds up everybody.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::KycError;

/// Documents that one process holds in memory for its clients: 5 MiB each.
const TRANSFERS_MAX: usize = 32;
/// Of these, one user's.
const TRANSFERS_PER_USER_MAX: usize = 4;
/// Documents that are sealed and written at once: one batch holds them all, and a command of the database 48 MB.
const WRITES_MAX: usize = 6;
/// Who does not get its turn by then tries again.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pieces in which a document goes out: what a client has not taken yet is held once, not copied.
const PIECE_BYTES: usize = 64 * 1024;

type Users = Arc<Mutex<HashMap<String, Arc<Semaphore>>>>;

/// Room for documents on their way.
#[derive(Clone, Debug)]
pub struct Transfers {
    room: Arc<Semaphore>,
    users: Users,
    writes: Arc<Semaphore>,
}

/// A turn to hold one document; given back when it is dropped.
#[derive(Debug)]
pub struct Turn {
    _place: OwnedSemaphorePermit,
    _own: Own,
}

/// One of a user's own turns.
#[derive(Debug)]
struct Own {
    permit: Option<OwnedSemaphorePermit>,
    user_id: String,
    users: Users,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.permit = None;
        let mut users = self.users.lock();
        // Whoever waits for one of them holds it too.
        if users.get(&self.user_id).is_some_and(|turns| Arc::strong_count(turns) == 1) {
            users.remove(&self.user_id);
        }
    }
}

impl Default for Transfers {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(TRANSFERS_MAX)),
            users: Users::default(),
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
        }
    }
}

impl Transfers {
    /// A turn for a document of `user_id`; to be had before it is read.
    pub(super) async fn turn(&self, user_id: &str) -> Result<Turn, KycError> {
        let mut own = Own { permit: None, user_id: user_id.to_owned(), users: Arc::clone(&self.users) };
        let turns = {
            let mut users = self.users.lock();
            let turns = users.entry(user_id.to_owned());
            Arc::clone(turns.or_insert_with(|| Arc::new(Semaphore::new(TRANSFERS_PER_USER_MAX))))
        };
        own.permit = Some(wait(&turns).await?);
        drop(turns);
        Ok(Turn { _place: wait(&self.room).await?, _own: own })
    }

    /// A turn to seal and write.
    pub(super) async fn write_turn(&self) -> Result<OwnedSemaphorePermit, KycError> {
        wait(&self.writes).await
    }
}

async fn wait(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, KycError> {
    let turn = tokio::time::timeout(PATIENCE, Arc::clone(semaphore).acquire_owned()).await;
    turn.ok().and_then(Result::ok).ok_or(KycError::Busy)
}

/// A body that keeps its turn until the client has taken it.
pub(super) fn body(content: Bytes, turn: Turn) -> Body {
    Body::from_stream(stream::unfold((content, turn), |(mut rest, turn)| async move {
        if rest.is_empty() {
            return None;
        }
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        Some((Ok::<_, std::convert::Infallible>(piece), (rest, turn)))
    }))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn one_user_leaves_room_for_others() {
        let transfers = Transfers::default();
        let mut turns = Vec::new();
        for _ in 0..TRANSFERS_PER_USER_MAX {
            turns.push(transfers.turn("usr_1").await.expect("a turn"));
        }
        assert!(matches!(transfers.turn("usr_1").await, Err(KycError::Busy)));
        assert!(transfers.turn("usr_2").await.is_ok());
        turns.pop();
        assert!(transfers.turn("usr_1").await.is_ok(), "a turn that was given back is free");
        turns.clear();
        assert!(transfers.users.lock().is_empty(), "nobody is remembered for nothing");
    }

    #[tokio::test]
    async fn a_body_is_whole_and_keeps_its_turn_to_the_end() {
        let transfers = Transfers::default();
        let content = Bytes::from(vec![7; 3 * PIECE_BYTES + 1]);
        let mut body = body(content.clone(), transfers.turn("usr_1").await.expect("a turn"));
        let first = body.frame().await.expect("a frame").expect("data").into_data().expect("data");
        assert_eq!((first.len(), transfers.room.available_permits()), (PIECE_BYTES, TRANSFERS_MAX - 1));
        let rest = body.collect().await.expect("the rest").to_bytes();
        assert_eq!(rest.len() + first.len(), content.len());
        assert_eq!(transfers.room.available_permits(), TRANSFERS_MAX);
    }
}
