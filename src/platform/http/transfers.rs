//! Documents on their way in and out: how many at once and for how long, so that nobody's slow line holds up everybody, and no
//! merchants' lines those who review them.

use std::{collections::HashMap, io, pin::pin, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::platform::identity::CurrentUser;

/// Documents that one process holds in memory for merchants: 5 MiB each.
const TRANSFERS_MAX: usize = 24;
/// The same for reviewers, whom merchants must not keep from their work: anybody can open accounts.
const STAFF_TRANSFERS_MAX: usize = 8;
/// Of these, one user's.
const TRANSFERS_PER_USER_MAX: usize = 4;
/// Documents that are sealed and written at once: one batch holds them all, and a command of the database 48 MB.
const WRITES_MAX: usize = 6;
/// Longest wait for a permit; then the client has to try again.
const PATIENCE: Duration = Duration::from_secs(3);
/// A document has this long to go out, however slowly its client reads, and longer where it is larger than 5 MiB: 350 kbit/s.
/// (Coming in, a request has 30 s.)
const DOWNLOAD_TIME_MIN: Duration = Duration::from_secs(120);
const DOWNLOAD_BYTES_PER_SECOND: u64 = 43_750;
/// Pieces in which a document goes out.
const PIECE_BYTES: usize = 64 * 1024;

type PermitsByUser = Arc<Mutex<HashMap<String, Arc<Semaphore>>>>;

/// Too many documents are on their way: to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many documents are on their way")]
pub struct Busy;

/// Room for documents on their way.
#[derive(Clone, Debug)]
pub struct Transfers {
    room: Arc<Semaphore>,
    staff_room: Arc<Semaphore>,
    users: PermitsByUser,
    writes: Arc<Semaphore>,
}

/// A turn to hold one document; given back when it is dropped.
#[derive(Debug)]
pub struct TransferPermit {
    _place: OwnedSemaphorePermit,
    _own: UserPermit,
}

/// One of a user's own turns.
#[derive(Debug)]
struct UserPermit {
    permit: Option<OwnedSemaphorePermit>,
    user_id: String,
    users: PermitsByUser,
}

impl Drop for UserPermit {
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
            staff_room: Arc::new(Semaphore::new(STAFF_TRANSFERS_MAX)),
            users: PermitsByUser::default(),
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
        }
    }
}

impl Transfers {
    /// A turn for a document that `user` sends or reads; to be had before it is read.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn turn(&self, user: &CurrentUser) -> Result<TransferPermit, Busy> {
        let (user_id, room) = (&user.user_id, if user.role.is_staff() { &self.staff_room } else { &self.room });
        let mut own = UserPermit { permit: None, user_id: user_id.to_owned(), users: Arc::clone(&self.users) };
        let turns = {
            let mut users = self.users.lock();
            let turns = users.entry(user_id.to_owned());
            Arc::clone(turns.or_insert_with(|| Arc::new(Semaphore::new(TRANSFERS_PER_USER_MAX))))
        };
        own.permit = Some(wait(&turns).await?);
        drop(turns);
        Ok(TransferPermit { _place: wait(room).await?, _own: own })
    }

    /// A turn to seal and write.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn write_turn(&self) -> Result<OwnedSemaphorePermit, Busy> {
        wait(&self.writes).await
    }
}

async fn wait(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Busy> {
    let turn = tokio::time::timeout(PATIENCE, Arc::clone(semaphore).acquire_owned()).await;
    turn.ok().and_then(Result::ok).ok_or(Busy)
}

/// A body that keeps its turn until the client has taken it, or its time is up. Then it breaks off with an error, so that nobody
/// takes half a document for the whole.
pub fn body(content: Bytes, turn: TransferPermit) -> Body {
    let bytes = content.len() as u64;
    // A copy: what a client is stuck with must not keep the rest in memory.
    let pieces = (0..content.len()).step_by(PIECE_BYTES).map(move |start| {
        let piece = &content[start..content.len().min(start + PIECE_BYTES)];
        Ok(Bytes::copy_from_slice(piece))
    });
    body_of(stream::iter(pieces), bytes, turn)
}

/// The same of a document that is fetched piece by piece, `bytes` in all. Where a piece can't be had, it breaks off.
pub fn body_of(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    bytes: u64,
    turn: TransferPermit,
) -> Body {
    let time_max = DOWNLOAD_TIME_MIN.max(Duration::from_secs(bytes / DOWNLOAD_BYTES_PER_SECOND));
    body_within(time_max, pieces, bytes, turn)
}

fn body_within(
    time_max: Duration,
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    bytes: u64,
    turn: TransferPermit,
) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let sending = async {
            let mut pieces = pin!(pieces);
            while let Some(piece) = pieces.next().await {
                let failed = piece.is_err();
                if sender.send(piece).await.is_err() || failed {
                    return;
                }
            }
            sender.closed().await;
        };
        // Whether the client is being waited for or not: nobody polls a body whose client doesn't read.
        let _ = tokio::time::timeout(time_max, sending).await;
        drop(turn);
    });
    Body::from_stream(stream::unfold((receiver, bytes), |(mut receiver, left)| async move {
        if left == 0 {
            return None;
        }
        Some(match receiver.recv().await {
            Some(Ok(piece)) => {
                let left = left.saturating_sub(piece.len() as u64);
                (Ok(piece), (receiver, left))
            }
            Some(Err(error)) => (Err(error), (receiver, 0)),
            None => (Err(io::Error::new(io::ErrorKind::TimedOut, "the document took too long")), (receiver, 0)),
        })
    }))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::platform::identity::Role;

    fn user(user_id: &str, role: Role) -> CurrentUser {
        CurrentUser {
            user_id: user_id.into(),
            role,
            access_version: 0,
            tenant_id: None,
            key_id: None,
            address: None,
            request_id: "rqs_1".into(),
        }
    }

    async fn turn(transfers: &Transfers, user_id: &str) -> Result<TransferPermit, Busy> {
        transfers.turn(&user(user_id, Role::Merchant)).await
    }

    /// Waits until no merchant has a place; fails where that takes too long.
    async fn all_places_free(transfers: &Transfers) {
        let all = transfers.room.acquire_many(TRANSFERS_MAX as u32);
        drop(tokio::time::timeout(Duration::from_secs(20), all).await.expect("they come free").expect("places"));
    }

    #[tokio::test]
    async fn one_user_leaves_room_for_others() {
        let transfers = Transfers::default();
        let mut turns = Vec::new();
        for _ in 0..TRANSFERS_PER_USER_MAX {
            turns.push(turn(&transfers, "usr_1").await.expect("a turn"));
        }
        assert!(matches!(turn(&transfers, "usr_1").await, Err(Busy)));
        assert!(turn(&transfers, "usr_2").await.is_ok());
        turns.pop();
        assert!(turn(&transfers, "usr_1").await.is_ok(), "a turn that was given back is free");
        turns.clear();
        assert!(transfers.users.lock().is_empty(), "nobody is remembered for nothing");
    }

    #[tokio::test]
    async fn merchants_keep_no_reviewer_from_a_document() {
        let transfers = Transfers::default();
        let mut turns = Vec::new();
        for place in 0..TRANSFERS_MAX {
            turns.push(turn(&transfers, &format!("usr_{}", place / TRANSFERS_PER_USER_MAX)).await.expect("a turn"));
        }
        assert!(matches!(turn(&transfers, "usr_more").await, Err(Busy)));
        for reviewer in ["usr_a", "usr_b"] {
            for _ in 0..TRANSFERS_PER_USER_MAX {
                turns.push(transfers.turn(&user(reviewer, Role::Admin)).await.expect("a turn"));
            }
        }
    }

    #[tokio::test]
    async fn a_body_is_whole_and_keeps_its_turn_to_the_end() {
        let transfers = Transfers::default();
        let content = Bytes::from(vec![7; 5 * PIECE_BYTES + 1]);
        let mut body = body(content.clone(), turn(&transfers, "usr_1").await.expect("a turn"));
        let first = body.frame().await.expect("a frame").expect("data").into_data().expect("data");
        assert_eq!((first.len(), transfers.room.available_permits()), (PIECE_BYTES, TRANSFERS_MAX - 1));
        let rest = body.collect().await.expect("the rest").to_bytes();
        assert_eq!(rest.len() + first.len(), content.len());
        all_places_free(&transfers).await;
    }

    #[tokio::test]
    async fn a_client_that_leaves_gives_its_turn_back() {
        let transfers = Transfers::default();
        let content = Bytes::from(vec![7; 5 * PIECE_BYTES]);
        drop(body(content, turn(&transfers, "usr_1").await.expect("a turn")));
        all_places_free(&transfers).await;
    }

    #[tokio::test]
    async fn a_piece_that_cannot_be_had_breaks_the_document_off() {
        let transfers = Transfers::default();
        let pieces = vec![Ok(Bytes::from_static(b"half")), Err(io::Error::other("the other half is not there"))];
        let body = body_of(stream::iter(pieces), 8, turn(&transfers, "usr_1").await.expect("a turn"));
        assert!(body.collect().await.is_err(), "half a document is none");
        all_places_free(&transfers).await;
    }

    #[tokio::test]
    async fn whoever_reads_too_slowly_loses_its_turn_and_is_told() {
        let transfers = Transfers::default();
        let content = Bytes::from(vec![7; 5 * PIECE_BYTES]);
        let turn = turn(&transfers, "usr_1").await.expect("a turn");
        let pieces = stream::iter((0..5).map(move |_| Ok(content.slice(..PIECE_BYTES))));
        let mut body = body_within(Duration::from_millis(20), pieces, 5 * PIECE_BYTES as u64, turn);
        body.frame().await.expect("a frame").expect("data");
        // Nobody reads on.
        all_places_free(&transfers).await;
        assert!(body.collect().await.is_err(), "half a document is none");
    }
}
