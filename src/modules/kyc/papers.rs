//! Numbers that another account has handed in before. They are sealed, and no two sealed values are alike, so each has a keyed
//! hash (HMAC) beside it, by which the accounts that have handed it in are found. The key is made once and kept sealed, so that
//! a change of the sealing key leaves the hashes alone.
//!
//! They find applicants who were rejected and had everything erased, for [`KEPT`]: else erasing would be the way to come back
//! unseen with the same papers. A hash says nothing without its key, and is used for nothing else.

use std::time::Duration;

use bson::DateTime;
use mongodb::Database;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    draft::Numbers,
    model::{Application, KycState},
};
use crate::platform::{
    batch::{Entity, View},
    clock::after,
    kept_secret::{KeptSecret, KeptSecretError},
    sealing::SealingKeys,
    secret::MacKey,
};

/// Numbers by their hashes.
pub const PAPERS: &str = "kyc_papers";
pub const KYC_KEYS: &str = "kyc_keys";
pub(super) const PAPERS_KEY: KeptSecret = KeptSecret { collection: KYC_KEYS, id: "papers" };
/// Hashes of erased applications are kept for three years, as records of the audit are by default: for as long as somebody
/// may have to answer for letting the merchant in again.
const KEPT: Duration = Duration::from_secs(3 * 365 * 24 * 3600);
/// Letters of an IFSC that name the bank: an account has one number there, whichever the branch.
const BANK_CHARS: usize = 4;

/// A number and who has handed it in; collection `kyc_papers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Paper {
    /// The field and the hash: `pan:...`
    #[serde(rename = "_id")]
    pub(super) id: String,
    /// Users whose applications have this number.
    pub(super) user_ids: Vec<String>,
    /// Users whose applications were erased, and until when they are remembered.
    #[serde(default)]
    erased: Vec<ErasedUser>,
    /// From then on in nobody's: the document goes away.
    emptied_at: Option<DateTime>,
}

/// Somebody whose application was erased.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ErasedUser {
    user_id: String,
    until: DateTime,
}

impl Paper {
    /// Other accounts that have handed it in.
    pub(super) fn others(&self, user_id: &str, now: DateTime) -> impl Iterator<Item = &str> {
        let erased = self.erased.iter().filter(move |erased| erased.until > now).map(|erased| &erased.user_id);
        self.user_ids.iter().chain(erased).map(String::as_str).filter(move |other| *other != user_id)
    }

    /// Says from when on it is in nobody's.
    fn note_emptied(&mut self, now: DateTime) {
        let until = self.erased.iter().map(|erased| erased.until).max().unwrap_or(now);
        self.emptied_at = self.user_ids.is_empty().then(|| until.max(now));
    }
}

impl Entity for Paper {
    const COLLECTION: &'static str = PAPERS;

    fn id(&self) -> &str {
        &self.id
    }
}

/// Another account that has handed in one of the same numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedAccount {
    pub user_id: String,
    pub state: KycState,
    /// Fields that are the same: `pan`, `gstin`, `bankAccount`.
    pub shared: Vec<String>,
}

/// The key of the hashes; makes it where there is none.
///
/// # Errors
/// [`KeptSecretError`].
pub(super) async fn papers_key(db: &Database, keys: &SealingKeys) -> Result<MacKey, KeptSecretError> {
    let secret = PAPERS_KEY.ensure(db, keys).await?;
    Ok(MacKey::new(secret.expose_secret().as_bytes()))
}

pub(super) fn paper_ids(key: &MacKey, application: &Application, numbers: &Numbers) -> Vec<String> {
    let id =
        |field: &str, number: &str| format!("{field}:{}", hex::encode(key.mac(format!("{field}:{number}").as_bytes())));
    let of =
        |field: &str, number: &Option<SecretString>| number.as_ref().map(|number| id(field, number.expose_secret()));
    let account = numbers.account_number.as_ref().zip(application.bank_account.as_ref()).map(|(number, account)| {
        let bank: String = account.ifsc.chars().take(BANK_CHARS).collect();
        id("bankAccount", &format!("{bank}:{}", number.expose_secret().trim_start_matches('0')))
    });
    [of("pan", &numbers.pan), of("gstin", &numbers.gstin), account].into_iter().flatten().collect()
}

pub(super) fn field_of(paper_id: &str) -> &str {
    paper_id.split_once(':').map_or(paper_id, |(field, _)| field)
}

/// Notes what an application hands in, in place of what it handed in before; whether another account has handed in one of them.
pub(super) fn replace_papers(view: &mut View, application: &mut Application, ids: Vec<String>) -> bool {
    let user_id = application.user_id.clone();
    for id in application.papers.iter().filter(|id| !ids.contains(id)) {
        take_back(view, id, &user_id);
    }
    let mut shared = false;
    for id in &ids {
        match view.by_id::<Paper>(id) {
            None => view.insert(&Paper {
                id: id.clone(),
                user_ids: vec![user_id.clone()],
                erased: Vec::new(),
                emptied_at: None,
            }),
            Some(mut paper) => {
                shared |= paper.others(&user_id, view.now()).next().is_some();
                if !paper.user_ids.contains(&user_id) {
                    paper.user_ids.push(user_id.clone());
                    paper.emptied_at = None;
                    view.update(&paper);
                }
            }
        }
    }
    application.papers = ids;
    shared
}

/// An application is erased: what it has handed in is remembered, for a time.
pub(super) fn erase(view: &mut View, application: &Application) {
    let now = view.now();
    for id in &application.papers {
        let Some(mut paper) = view.by_id::<Paper>(id) else { continue };
        paper.user_ids.retain(|other| *other != application.user_id);
        paper.erased.retain(|erased| erased.until > now && erased.user_id != application.user_id);
        paper.erased.push(ErasedUser { user_id: application.user_id.clone(), until: after(now, KEPT) });
        paper.note_emptied(now);
        view.update(&paper);
    }
}

fn take_back(view: &mut View, id: &str, user_id: &str) {
    let Some(mut paper) = view.by_id::<Paper>(id) else { return };
    paper.user_ids.retain(|other| other != user_id);
    // Not removed here: somebody else may hand it in within this very batch.
    paper.note_emptied(view.now());
    view.update(&paper);
}

#[cfg(test)]
mod tests {
    use bson::DateTime;

    use super::*;
    use crate::{
        modules::kyc::model::{BankAccount, SealedNumber},
        platform::batch::Key,
    };

    fn keys() -> SealingKeys {
        SealingKeys::new(&SecretString::from("0".repeat(64)), None).expect("a key")
    }

    fn application(user_id: &str, ifsc: &str) -> Application {
        let sealed = SealedNumber { masked: "X".into(), sealed: keys().seal("x", b"1") };
        let bank_account = Some(BankAccount { number: sealed, ifsc: ifsc.into() });
        Application { bank_account, ..Application::new(user_id, DateTime::from_millis(0)) }
    }

    fn numbers(pan: &str, gstin: Option<&str>, account: &str) -> Numbers {
        Numbers { pan: Some(pan.into()), gstin: gstin.map(Into::into), account_number: Some(account.into()) }
    }

    #[test]
    fn the_same_number_has_the_same_hash_whatever_else_is_written() {
        let key = MacKey::new(b"key");
        let ids = |ifsc: &str, numbers: &Numbers| paper_ids(&key, &application("usr_1", ifsc), numbers);
        let one = ids("HDFC0000123", &numbers("ABCPR1234F", None, "000123456789"));
        assert_eq!(one.iter().map(|id| field_of(id)).collect::<Vec<_>>(), ["pan", "bankAccount"]);
        assert!(one.iter().all(|id| !id.contains("ABCPR1234F") && !id.contains("123456789")));
        let branch = ids("HDFC0000999", &numbers("ABCPR1234F", Some("29ABCPR1234F1ZU"), "123456789"));
        assert_eq!((&branch[0], &branch[2]), (&one[0], &one[1]));
        let other = ids("ICIC0000123", &numbers("ABCPR1235F", None, "000123456789"));
        assert!(other.iter().all(|id| !one.contains(id)), "another bank, another number");
        let other_key =
            paper_ids(&MacKey::new(b"other"), &application("usr_1", "HDFC0000123"), &numbers("ABCPR1234F", None, "1"));
        assert_ne!(other_key[0], one[0]);
    }

    #[test]
    fn whoever_comes_second_shares_and_what_is_taken_back_is_free() {
        let mut view = View::new(DateTime::from_millis(1_000));
        for id in ["pan:1", "pan:2", "bankAccount:1"] {
            view.put_absent(Key::id(PAPERS, id));
        }
        let ids = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (mut first, mut second) = (application("usr_1", "HDFC0000123"), application("usr_2", "HDFC0000123"));
        assert!(!replace_papers(&mut view, &mut first, ids(&["pan:1", "bankAccount:1"])));
        assert!(!replace_papers(&mut view, &mut first, ids(&["pan:1", "bankAccount:1"])), "one's own");
        assert!(replace_papers(&mut view, &mut second, ids(&["pan:2", "bankAccount:1"])));
        assert!(!replace_papers(&mut view, &mut second, ids(&["pan:2"])), "it was changed");
        assert!(replace_papers(&mut view, &mut second, ids(&["pan:1"])));
        assert!(!replace_papers(&mut view, &mut first, ids(&["bankAccount:1"])), "and back");
        let paper = view.by_id::<Paper>("pan:1").expect("a paper");
        assert_eq!((paper.user_ids, paper.emptied_at), (vec!["usr_2".to_owned()], None));
        let other = view.by_id::<Paper>("pan:2").expect("a paper");
        assert_eq!((other.user_ids.len(), other.emptied_at), (0, Some(DateTime::from_millis(1_000))));
        let mut third = application("usr_3", "HDFC0000123");
        assert!(!replace_papers(&mut view, &mut third, ids(&["pan:2"])));
        assert_eq!(view.by_id::<Paper>("pan:2").expect("a paper").emptied_at, None);
    }

    #[test]
    fn whoever_was_erased_is_found_until_that_is_forgotten() {
        let now = DateTime::from_millis(1_000);
        let mut view = View::new(now);
        view.put_absent(Key::id(PAPERS, "pan:1"));
        let ids = || vec!["pan:1".to_owned()];
        let (mut first, mut second) = (application("usr_1", "HDFC0000123"), application("usr_2", "HDFC0000123"));
        assert!(!replace_papers(&mut view, &mut first, ids()));
        erase(&mut view, &first);
        let paper = view.by_id::<Paper>("pan:1").expect("a paper");
        let forgotten = after(now, KEPT);
        assert_eq!((paper.user_ids.len(), paper.emptied_at), (0, Some(forgotten)));
        assert_eq!(paper.others("usr_2", now).collect::<Vec<_>>(), ["usr_1"]);
        assert_eq!((paper.others("usr_1", now).count(), paper.others("usr_2", forgotten).count()), (0, 0));
        assert!(replace_papers(&mut view, &mut second, ids()));
        take_back(&mut view, "pan:1", "usr_2");
        assert_eq!(view.by_id::<Paper>("pan:1").expect("a paper").emptied_at, Some(forgotten), "not before");
    }
}
