//! Traits that an adapter implements: one for each thing that a provider can do.

use std::time::Duration;

use secrecy::SecretString;

use super::{
    detail::Detail,
    outcome::{Outcome, Placed},
    progress::{PollSchedule, Progress},
    secrets::AccountSecrets,
};
use crate::platform::exchange::{Answer, Credentials, Outbound, ReceivedFile};

/// Operations of providers, named as in logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Places the order.
    Create,
    /// Takes it back.
    Cancel,
    /// Asks what became of it.
    LookUp,
    /// Asks how it is getting on.
    Poll,
    Fetch,
    /// Adds what it lacks: the second of two calls that place it.
    Finish,
    /// Asks for a token.
    LogIn,
}

impl Operation {
    pub const ALL: [Self; 7] =
        [Self::Create, Self::Cancel, Self::LookUp, Self::Poll, Self::Fetch, Self::Finish, Self::LogIn];

    /// As in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create_order",
            Self::Cancel => "cancel_order",
            Self::LookUp => "look_up_order",
            Self::Poll => "poll_order",
            Self::Fetch => "fetch_file",
            Self::Finish => "finish_order",
            Self::LogIn => "log_in",
        }
    }

    /// Whether doing it twice is the same as doing it once.
    #[must_use]
    pub const fn is_safe_to_repeat(self) -> bool {
        match self {
            Self::Create | Self::Finish => false,
            Self::Cancel | Self::LookUp | Self::Poll | Self::Fetch | Self::LogIn => true,
        }
    }
}

/// An order as it is sent to a provider.
#[derive(Clone, Copy, Debug)]
pub struct OrderToPlace<'a> {
    /// Our id: the reference by which we look it up again.
    pub order_id: &'a str,
    /// The merchant's id.
    pub client_order_id: &'a str,
    pub detail: &'a Detail,
}

/// An outside service. Knows no account: what a call is signed by is brought to it.
pub trait Provider: Send + Sync + 'static {
    /// As in logs.
    fn name(&self) -> &'static str;

    /// Names of the headers that [`Provider::sign`] brings.
    fn credential_headers(&self) -> &'static [&'static str];

    /// Proof of who we are, made right before sending. `None` where it can't be made of these; nothing is sent then.
    fn sign(&self, secrets: &AccountSecrets) -> Option<Credentials>;

    /// How it gives a token for credentials, by which calls are signed then ([`AccountSecrets::token`]); none where credentials
    /// sign calls by themselves.
    fn log_in(&self) -> Option<&dyn LogIn> {
        None
    }
}

/// Gives a token for credentials. It is kept sealed for all workers, renewed before it ends, and once where it is refused earlier.
pub trait LogIn: Send + Sync {
    /// The request that asks for a token, and what it is signed by. What of its body may be stored its redaction says: no
    /// credential. None where these are not what it takes.
    fn log_in_request(&self, secrets: &AccountSecrets) -> Option<(Outbound, Credentials)>;

    /// Reads the answer. Credentials that are refused are `Unauthorized`.
    fn read_log_in(&self, answer: &Answer) -> Outcome<Token>;
}

/// The token of a login.
#[derive(Clone, Debug)]
pub struct Token {
    /// Signs calls.
    pub token: SecretString,
    pub lasts: Duration,
}

/// A provider that takes orders.
pub trait OrderProvider: Provider {
    /// The request that places the order; `None` where it is about something else than this provider takes.
    fn create_request(&self, order: &OrderToPlace<'_>) -> Option<Outbound>;

    /// Reads the answer to a create of the order `order_id`.
    fn read_create(&self, order_id: &str, answer: &Answer) -> Outcome<Placed>;

    /// The request that asks for an order by our reference.
    fn look_up_request(&self, order_id: &str) -> Outbound;

    /// Reads the answer to a look-up of the order `order_id`; none is a clear "no record".
    fn read_look_up(&self, order_id: &str, answer: &Answer) -> Outcome<Option<Placed>>;

    /// How it takes an order back; none where what was sent can't be taken back.
    fn cancelling(&self) -> Option<&dyn CancellableOrders> {
        None
    }

    /// How an order is placed with a second call; none where one does it.
    fn finishing(&self) -> Option<&dyn TwoStepOrders> {
        None
    }

    /// How an account is tried without any effect; none where every call has one.
    fn testing(&self) -> Option<&dyn Testing> {
        None
    }

    /// How it is asked about orders that take their time; none where what it has accepted is done for us.
    fn polling(&self) -> Option<&dyn PolledOrders> {
        None
    }
}

/// An order as its provider knows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlacedOrder<'a> {
    /// [`Placed::reference`]; none of an unfinished one.
    pub reference: Option<&'a str>,
    /// [`Placed::provider_order_id`].
    pub provider_order_id: Option<&'a str>,
}

/// Takes a second call to place an order: until then it has it, but carries nothing out. What the first one answers is
/// [`Placed::unfinished`], and so is what a look-up finds in between.
pub trait TwoStepOrders {
    /// The request that brings what the order lacks; `None` where it can't be asked for this one.
    fn finish_request(&self, order: &PlacedOrder<'_>) -> Option<Outbound>;

    /// Reads the answer. An unclear one leads to a look-up.
    fn read_finish(&self, answer: &Answer) -> Outcome<Placed>;
}

/// Can be called only to see whether an account works: it looks up something that is not there, unless it says otherwise. What it
/// asks changes nothing, however often it is asked.
pub trait Testing: OrderProvider {
    /// The request; `reference` was never given to anything.
    fn test_request(&self, reference: &str) -> Outbound {
        self.look_up_request(reference)
    }

    /// Whether the answer is that of a provider which serves the account.
    fn read_test(&self, reference: &str, answer: &Answer) -> Outcome<()> {
        self.read_look_up(reference, answer).map(drop)
    }
}

/// Carries orders out in its own time, and answers with files.
pub trait PolledOrders {
    /// How often it is asked.
    fn schedule(&self) -> PollSchedule;

    /// The request that asks how `reference` is getting on.
    fn poll_request(&self, reference: &str) -> Outbound;

    fn read_poll(&self, reference: &str, answer: &Answer) -> Outcome<Progress>;

    /// The request that asks for a file of `reference`.
    fn file_request(&self, reference: &str, file_id: &str) -> Outbound;

    /// The largest file that is taken.
    fn file_bytes_max(&self) -> u64;

    /// Reads the answer to a request for a file. A refusal is for good.
    fn read_file(&self, answer: &Answer) -> Outcome<ReceivedFile>;
}

/// Takes orders back.
pub trait CancellableOrders {
    /// The request that cancels an order; `None` where it can't be asked for this one.
    fn cancel_request(&self, order: &PlacedOrder<'_>) -> Option<Outbound>;

    /// Reads the answer to a cancel: done where it is cancelled, now or before.
    fn read_cancel(&self, answer: &Answer) -> Outcome<()>;
}
