//! The use cases of wallets and finance, one method each.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bson::DateTime;

use super::{
    commands::{BookFinance, Booked, Booking, Reverse, Reversed, finance_reference},
    error::WalletError,
    model::{LedgerReference, LedgerTransaction},
    store::{Balance, WalletStore},
};
use crate::{
    modules::{auth::AsUser, events::Actor},
    platform::{
        batch::Lane,
        clock::Clock,
        identity::CurrentUser,
        ids::new_id,
        money::{Currency, Money},
    },
};

/// Wallets, as the API offers them.
#[derive(Clone, Debug)]
pub struct WalletService {
    lane: Lane,
    store: WalletStore,
    clock: Clock,
    indexes_present: Arc<AtomicBool>,
}

/// A request of finance, after validation.
#[derive(Clone, Debug)]
pub struct NewBooking {
    /// Finance's own id.
    pub client_reference: String,
    pub booking: Booking,
    pub user_id: String,
    pub money: Money,
    pub reason: String,
}

impl WalletService {
    /// A service that writes through `lane` once `indexes_present` holds.
    #[must_use]
    pub const fn new(lane: Lane, store: WalletStore, clock: Clock, indexes_present: Arc<AtomicBool>) -> Self {
        Self { lane, store, clock, indexes_present }
    }

    /// The time, as the ledger sees it.
    #[must_use]
    pub fn now(&self) -> DateTime {
        self.clock.now()
    }

    /// The store that reports read.
    #[must_use]
    pub const fn store(&self) -> &WalletStore {
        &self.store
    }

    /// A user's balance, now or as it was.
    ///
    /// # Errors
    /// [`WalletError::Database`].
    pub async fn balance(
        &self,
        user_id: &str,
        currency: Currency,
        as_of: Option<DateTime>,
    ) -> Result<Balance, WalletError> {
        Ok(match as_of {
            None => self.store.balance(user_id, currency).await?,
            Some(as_of) => self.store.balance_as_of(user_id, currency, as_of).await?,
        })
    }

    /// Books for finance; `true` where the same had been booked before.
    ///
    /// # Errors
    /// [`WalletError::Mismatch`], [`WalletError::NoUser`], [`WalletError::Refused`], [`WalletError::NotReady`],
    /// [`WalletError::Revoked`], [`WalletError::Lane`].
    pub async fn book(&self, user: &CurrentUser, new: NewBooking) -> Result<(LedgerTransaction, bool), WalletError> {
        let command = BookFinance {
            transaction_ids: [new_id("txn"), new_id("txn")],
            reference: finance_reference(&new.client_reference),
            client_reference: Some(new.client_reference),
            booking: new.booking,
            user_id: new.user_id,
            money: new.money,
            reason: Some(new.reason),
            actor: Actor::from(user),
        };
        self.ensure_ready()?;
        outcome(self.lane.submit(AsUser::new(user, command)).await??)
    }

    /// Gives a new user's wallet an opening credit, once.
    ///
    /// # Errors
    /// As [`WalletService::book`].
    pub async fn open_with(&self, user_id: &str, money: Money) -> Result<(), WalletError> {
        let command = BookFinance {
            transaction_ids: [new_id("txn"), new_id("txn")],
            reference: LedgerReference::new("user", user_id, "opening_credit"),
            client_reference: None,
            booking: Booking::Recharge,
            user_id: user_id.to_owned(),
            money,
            reason: Some("Opening credit".into()),
            actor: Actor::command_line("user create"),
        };
        self.ensure_ready()?;
        outcome(self.lane.submit(command).await?).map(drop)
    }

    /// Books the opposite of a transaction; `true` where it had been booked before under the same reference.
    ///
    /// # Errors
    /// [`WalletError::Mismatch`], [`WalletError::NotFound`], [`WalletError::ReversedBefore`], [`WalletError::Refused`], [`WalletError::NotReady`],
    /// [`WalletError::Lane`].
    pub async fn reverse(
        &self,
        user: &CurrentUser,
        transaction_id: String,
        client_reference: String,
        reason: String,
    ) -> Result<(LedgerTransaction, bool), WalletError> {
        self.ensure_ready()?;
        let command = Reverse {
            transaction_id: new_id("txn"),
            original_id: transaction_id,
            client_reference,
            reason,
            actor: Actor::from(user),
        };
        match self.lane.submit(AsUser::new(user, command)).await?? {
            Reversed::New(booked) => Ok((*booked, false)),
            Reversed::Replay(booked) => Ok((*booked, true)),
            Reversed::Mismatch => Err(WalletError::Mismatch),
            Reversed::NotFound => Err(WalletError::NotFound),
            Reversed::Before(by) => Err(WalletError::ReversedBefore(by)),
            Reversed::Refused(refusal) => Err(WalletError::Refused(refusal)),
        }
    }

    fn ensure_ready(&self) -> Result<(), WalletError> {
        if self.indexes_present.load(Ordering::Relaxed) { Ok(()) } else { Err(WalletError::NotReady) }
    }
}

/// The outcome of a booking; `true` where the same had been booked before.
fn outcome(booked: Booked) -> Result<(LedgerTransaction, bool), WalletError> {
    match booked {
        Booked::New(booked) => Ok((*booked, false)),
        Booked::Replay(booked) => Ok((*booked, true)),
        Booked::Mismatch => Err(WalletError::Mismatch),
        Booked::NoUser(field) => Err(WalletError::NoUser(field)),
        Booked::Refused(refusal) => Err(WalletError::Refused(refusal)),
    }
}
