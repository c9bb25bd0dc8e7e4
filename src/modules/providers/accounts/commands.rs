//! Writes of accounts, each in one transaction with the audit event that tells of it.

use bson::{Document, doc};

use super::model::{AccountStatus, ProviderAccount};
use crate::{
    modules::{
        audit::{AuditEvent, AuditOutcome, record_event},
        providers::AccountLimits,
    },
    platform::{
        batch::{Command, Entity, Key, View},
        identity::Actor,
        sealing::Sealed,
    },
};

#[derive(Debug)]
pub struct CreateAccount {
    /// As it will be stored; its times are the transaction's.
    pub account: ProviderAccount,
    /// The document of the merchant whose it is, where it is a merchant's.
    pub owner: Option<Key>,
    pub actor: Actor,
    /// Id of the audit event, new.
    pub event_id: String,
}

/// Why an account was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCreated {
    /// Its owner is no merchant, or there is no such user.
    NoSuchMerchant,
}

impl Command for CreateAccount {
    type Reply = Result<ProviderAccount, NotCreated>;

    fn reads(&self) -> Vec<Key> {
        self.owner.iter().cloned().collect()
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        if self.owner.as_ref().is_some_and(|owner| view.text(owner, "role") != Some("merchant")) {
            return Err(NotCreated::NoSuchMerchant);
        }
        let now = view.now();
        let account = ProviderAccount { created_at: now, updated_at: now, ..self.account.clone() };
        view.insert(&account);
        record(view, &account, "created", &self.actor, &self.event_id, None, account_document(&account));
        Ok(account)
    }
}

/// The change of a value that may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ValueChange<T> {
    #[default]
    Keep,
    /// It becomes this, or nothing.
    Set(Option<T>),
}

impl<T: Clone + PartialEq> ValueChange<T> {
    fn apply(&self, value: &mut Option<T>) -> bool {
        match self {
            Self::Set(new) if new != value => {
                value.clone_from(new);
                true
            }
            Self::Keep | Self::Set(_) => false,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    pub label: Option<String>,
    pub comment: ValueChange<String>,
    /// Other limits.
    pub concurrency: ValueChange<u32>,
    /// Other limits.
    pub rate_per_second: ValueChange<u32>,
    /// Other limits.
    pub open_orders: ValueChange<u32>,
    /// Other credentials, sealed.
    pub credentials: Option<Sealed>,
    pub status: Option<AccountStatus>,
}

/// Changes an account. What is the same already is no change; credentials always are one, and so is letting an account take
/// orders, because both close its breaker.
#[derive(Debug)]
pub struct ChangeAccount {
    pub account_id: String,
    pub change: AccountChange,
    pub actor: Actor,
    /// Id of the audit event, new.
    pub event_id: String,
}

/// An account as a command leaves it.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountChanged {
    /// As it is now.
    pub account: ProviderAccount,
    /// Closes the breaker: calls may be tried again.
    pub closes_breaker: bool,
}

/// Why an account was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountNotChanged {
    /// There is no such account.
    NotFound,
    /// Environment variables have its credentials.
    FromEnvironment,
}

impl Command for ChangeAccount {
    type Reply = Result<AccountChanged, AccountNotChanged>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(ProviderAccount::COLLECTION, &*self.account_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let mut account = view.by_id::<ProviderAccount>(&self.account_id).ok_or(AccountNotChanged::NotFound)?;
        let (change, before) = (&self.change, account.clone());
        if change.credentials.is_some() && account.credentials.is_none() {
            return Err(AccountNotChanged::FromEnvironment);
        }
        let changed = change.apply(&mut account);
        let activates = change.status == Some(AccountStatus::Active);
        if changed.is_empty() && !activates {
            return Ok(AccountChanged { account, closes_breaker: false });
        }
        account.updated_at = view.now();
        view.update(&account);
        let verb = match (change.status, account.status) {
            (None, _) => "changed",
            (Some(_), AccountStatus::Active) => "activated",
            (Some(_), AccountStatus::Inactive) => "deactivated",
        };
        let mut after = account_document(&account);
        after.insert("changed", changed);
        record(view, &account, verb, &self.actor, &self.event_id, Some(account_document(&before)), after);
        Ok(AccountChanged { account, closes_breaker: activates || change.credentials.is_some() })
    }
}

impl AccountChange {
    /// Names of the fields that are other ones now.
    fn apply(&self, account: &mut ProviderAccount) -> Vec<&'static str> {
        let mut changed = Vec::new();
        if let Some(label) = self.label.as_ref().filter(|label| **label != account.label) {
            account.label.clone_from(label);
            changed.push("label");
        }
        if self.comment.apply(&mut account.comment) {
            changed.push("comment");
        }
        let AccountLimits { concurrency, rate_per_second, open_orders } = &mut account.limits;
        for (name, change, limit) in [
            ("limits.concurrency", &self.concurrency, concurrency),
            ("limits.ratePerSecond", &self.rate_per_second, rate_per_second),
            ("limits.openOrders", &self.open_orders, open_orders),
        ] {
            if change.apply(limit) {
                changed.push(name);
            }
        }
        if let Some(credentials) = &self.credentials {
            account.credentials = Some(credentials.clone());
            account.credentials_version += 1;
            changed.push("credentials");
        }
        if let Some(status) = self.status.filter(|status| *status != account.status) {
            account.status = status;
            changed.push("status");
        }
        changed
    }
}

/// The account as audit events show it: no credential, no free text.
fn account_document(account: &ProviderAccount) -> Document {
    let AccountLimits { concurrency, rate_per_second, open_orders } = account.limits;
    let [concurrency, rate_per_second, open_orders] =
        [concurrency, rate_per_second, open_orders].map(|limit| limit.map(i64::from));
    doc! {
        "provider": &account.provider,
        "status": account.status.as_str(),
        "limits": { "concurrency": concurrency, "ratePerSecond": rate_per_second, "openOrders": open_orders },
        "credentialsVersion": account.credentials_version,
    }
}

pub(super) fn record(
    view: &mut View,
    account: &ProviderAccount,
    verb: &str,
    actor: &Actor,
    event_id: &str,
    before: Option<Document>,
    after: Document,
) {
    let (action, resource) = (format!("provider_account.{verb}"), ("provider_account", &*account.id));
    let event = AuditEvent::new(AuditOutcome::Done, actor.clone(), action, resource, view.now())
        .with_id(event_id.to_owned())
        .of_user(account.owner_user_id.clone())
        .before(before)
        .after(after);
    record_event(view, &event);
}

#[cfg(test)]
mod tests {
    use bson::DateTime;

    use super::*;
    use crate::{modules::audit::AUDIT_EVENTS, platform::sealing::SealingKeys};

    fn sealed() -> Sealed {
        SealingKeys::new(&"a".repeat(64).into(), None).expect("a key").seal("p", b"secret")
    }

    fn account(credentials: Option<Sealed>) -> ProviderAccount {
        let limits = AccountLimits { concurrency: Some(5), ..AccountLimits::default() };
        ProviderAccount { credentials, limits, ..ProviderAccount::of_a_test("xapi", DateTime::from_millis(0)) }
    }

    fn decide(
        stored: ProviderAccount,
        change: AccountChange,
    ) -> (Result<AccountChanged, AccountNotChanged>, Vec<Document>) {
        let mut view = View::new(DateTime::from_millis(1_000));
        view.put_read(&stored);
        let (actor, event_id) = (Actor::command_line("test"), "aud_1".into());
        let reply = ChangeAccount { account_id: "acc_1".into(), change, actor, event_id }.decide(&mut view);
        let events = view.appended_to(AUDIT_EVENTS).map(|raw| raw.try_into().expect("a document")).collect();
        (reply, events)
    }

    #[test]
    fn what_changes_is_recorded_by_name_and_what_does_not_is_not() {
        let set = ValueChange::Set;
        for (change, action, names) in [
            (AccountChange::default(), None, vec![]),
            (
                AccountChange { label: Some("One".into()), concurrency: set(Some(5)), ..AccountChange::default() },
                None,
                vec![],
            ),
            (
                AccountChange { label: Some("Two".into()), concurrency: set(None), ..AccountChange::default() },
                Some("provider_account.changed"),
                vec!["label", "limits.concurrency"],
            ),
            (
                AccountChange {
                    credentials: Some(sealed()),
                    comment: ValueChange::Set(Some("c".into())),
                    ..AccountChange::default()
                },
                Some("provider_account.changed"),
                vec!["comment", "credentials"],
            ),
            (
                AccountChange { status: Some(AccountStatus::Inactive), ..AccountChange::default() },
                Some("provider_account.deactivated"),
                vec!["status"],
            ),
            // It was active; its breaker closes.
            (
                AccountChange { status: Some(AccountStatus::Active), ..AccountChange::default() },
                Some("provider_account.activated"),
                vec![],
            ),
        ] {
            let shown = format!("{change:?}");
            let closes = change.credentials.is_some() || change.status == Some(AccountStatus::Active);
            let (reply, events) = decide(account(Some(sealed())), change);
            let AccountChanged { account: changed, closes_breaker } = reply.expect("it is there");
            assert_eq!(closes_breaker, closes, "{shown}");
            assert_eq!(changed.credentials_version, 1 + i64::from(names.contains(&"credentials")), "{shown}");
            assert_eq!(changed.updated_at.timestamp_millis(), if action.is_some() { 1_000 } else { 0 }, "{shown}");
            let recorded: Vec<_> = events.iter().map(|event| event.get_str("action").expect("an action")).collect();
            assert_eq!(recorded, action.into_iter().collect::<Vec<_>>(), "{shown}");
            for event in &events {
                let told = event.get_document("after").expect("what changed").get_array("changed").expect("names");
                assert_eq!(told.iter().filter_map(|name| name.as_str()).collect::<Vec<_>>(), names, "{shown}");
            }
        }
    }

    #[test]
    fn credentials_of_the_environment_are_not_changed_and_all_else_of_it_is() {
        let change =
            AccountChange { credentials: Some(sealed()), label: Some("Two".into()), ..AccountChange::default() };
        let (reply, events) = decide(account(None), change);
        assert_eq!((reply.err(), events.len()), (Some(AccountNotChanged::FromEnvironment), 0));
        let change = AccountChange { status: Some(AccountStatus::Inactive), ..AccountChange::default() };
        let (reply, _) = decide(account(None), change);
        assert_eq!(reply.expect("it may be").account.status, AccountStatus::Inactive);
    }
}
