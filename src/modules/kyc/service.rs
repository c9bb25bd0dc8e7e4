//! The use cases of KYC, one method each.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use secrecy::zeroize::Zeroizing;
use tokio::sync::OnceCell;

use super::{
    commands::{AddDocument, Erase, GrantApproval, RemoveDocument, SaveDraft},
    content::MediaType,
    draft::{Numbers, open_numbers},
    error::KycError,
    model::{Application, DocumentContent, DocumentEntry, DocumentKind, Requirement, document_place},
    papers::LinkedAccount,
    request::WellFormed,
    review::{DecideApplication, ReviewAction},
    store::{ApplicationFilter, KycStore},
    submission::Submit,
};
use crate::{
    modules::{
        audit::{AuditEvent, AuditOutcome, AuditStore},
        auth::AsUser,
        events::Actor,
        queue::{QueueConfig, Waker},
    },
    platform::{
        batch::Lane,
        clock::Clock,
        http::transfers::{TransferPermit, Transfers},
        identity::{CurrentUser, Role},
        ids::new_id,
        sealing::SealingKeys,
        secret::{MacKey, sha256_hex},
    },
};

/// A reviewer's word with what it is about.
#[derive(Debug)]
pub struct NewDecision {
    pub verdict: ReviewAction,
    pub reason: String,
    /// Required changes; with `clarify` only.
    pub requirements: Vec<Requirement>,
    /// The submission that the reviewer has seen.
    pub submission: Option<i32>,
}

/// Says that a user is known already; for whoever has the command line. Safe to repeat.
///
/// # Errors
/// [`KycError::NotDecidable`] where an application is under way or was refused, [`KycError::Lane`].
pub async fn grant(lane: &Lane, user_id: &str) -> Result<(), KycError> {
    let actor = Actor::command_line("kyc grant");
    lane.submit(GrantApproval { user_id: user_id.to_owned(), actor, event_id: new_id("evt") }).await?
}

/// Applications, as the API offers them.
#[derive(Clone)]
pub struct KycService {
    pub lane: Lane,
    /// Documents go a way of their own: they are large, and orders must not wait behind them.
    pub documents_lane: Lane,
    /// So does what destroys something: it writes the guard of legal holds, and orders must not wait for a purge.
    pub guard_lane: Lane,
    pub store: KycStore,
    /// Records who reads.
    pub audit: AuditStore,
    pub waker: Waker,
    /// None where persons do all checks.
    pub queue: Option<QueueConfig>,
    /// Opens and seals numbers and documents.
    pub keys: Arc<SealingKeys>,
    /// Hashes numbers, once it was read.
    pub papers_key: Arc<OnceCell<MacKey>>,
    /// An approval takes two reviewers.
    pub four_eyes: bool,
    /// A name that is less similar is left to a person.
    pub name_match_min_percent: u8,
    pub clock: Clock,
    /// Documents that are on their way to clients.
    pub transfers: Transfers,
    /// Nothing is written before.
    pub indexes_present: Arc<AtomicBool>,
}

impl KycService {
    /// The caller's application, as it is or as it would begin.
    ///
    /// # Errors
    /// [`KycError::Database`].
    pub async fn own(&self, user: &CurrentUser) -> Result<Application, KycError> {
        let found = self.store.find(&user.user_id).await?;
        Ok(found.unwrap_or_else(|| Application::new(&user.user_id, self.clock.now())))
    }

    /// Fills in the caller's draft.
    ///
    /// # Errors
    /// [`KycError::Locked`], [`KycError::Sealed`], [`KycError::NotReady`], [`KycError::Lane`].
    pub async fn save(&self, user: &CurrentUser, change: WellFormed) -> Result<Application, KycError> {
        self.ensure_ready()?;
        let command = SaveDraft {
            user_id: user.user_id.clone(),
            change: change.seal(&Application::id_of(&user.user_id), &self.keys),
            keys: Arc::clone(&self.keys),
            actor: Actor::from(user),
            event_id: new_id("evt"),
        };
        self.lane.submit(command).await?.map(|application| *application)
    }

    /// A turn to hold one document for `user`; to be had before it is read.
    ///
    /// # Errors
    /// [`KycError::Busy`].
    pub async fn turn(&self, user: &CurrentUser) -> Result<TransferPermit, KycError> {
        Ok(self.transfers.turn(user).await?)
    }

    /// Adds a document to the caller's application; `true` where it had been added before. The caller holds a turn.
    ///
    /// # Errors
    /// [`KycError::UnknownContent`], [`KycError::Locked`], [`KycError::TooManyDocuments`], [`KycError::NotReady`],
    /// [`KycError::Lane`].
    pub async fn upload(
        &self,
        user: &CurrentUser,
        kind: DocumentKind,
        content: Bytes,
    ) -> Result<(DocumentEntry, bool), KycError> {
        self.ensure_ready()?;
        let media_type = MediaType::of(&content).ok_or(KycError::UnknownContent)?;
        let (id, keys) = (new_id("doc"), Arc::clone(&self.keys));
        let entry = DocumentEntry {
            id: id.clone(),
            kind,
            media_type: media_type.as_str().into(),
            bytes: content.len() as i64,
            sha256: String::new(),
            uploaded_at: self.clock.now(),
        };
        let place = document_place(&id);
        let _turn = self.transfers.write_turn().await?;
        let sealing = tokio::task::spawn_blocking(move || (sha256_hex(&content), keys.seal(&place, &content)));
        let Ok((sha256, content)) = sealing.await else { return Err(KycError::Busy) };
        let command = AddDocument {
            user_id: user.user_id.clone(),
            entry: DocumentEntry { sha256, ..entry },
            content: DocumentContent { id, user_id: user.user_id.clone(), content },
            actor: Actor::from(user),
            event_id: new_id("evt"),
        };
        self.documents_lane.submit(command).await?
    }

    /// A document of the caller's.
    ///
    /// # Errors
    /// [`KycError::NoDocument`], [`KycError::Sealed`], [`KycError::Database`].
    pub async fn own_document(
        &self,
        user: &CurrentUser,
        document_id: &str,
    ) -> Result<(DocumentEntry, Zeroizing<Vec<u8>>), KycError> {
        self.document_of(&user.user_id, document_id).await
    }

    /// Anybody's document, for a reviewer; written down before it is shown.
    ///
    /// # Errors
    /// As [`KycService::own_document`].
    pub async fn reviewed_document(
        &self,
        reviewer: &CurrentUser,
        document_id: &str,
    ) -> Result<(DocumentEntry, Zeroizing<Vec<u8>>), KycError> {
        let owner = self.store.owner_of(document_id).await?.ok_or(KycError::NoDocument)?;
        let found = self.document_of(&owner, document_id).await?;
        self.record_reading(reviewer, "kyc.document_read", ("kyc_document", document_id), Some(owner)).await?;
        Ok(found)
    }

    async fn document_of(
        &self,
        user_id: &str,
        document_id: &str,
    ) -> Result<(DocumentEntry, Zeroizing<Vec<u8>>), KycError> {
        let application = self.store.find(user_id).await?.ok_or(KycError::NoDocument)?;
        let entry = application.documents.into_iter().find(|document| document.id == document_id);
        let entry = entry.ok_or(KycError::NoDocument)?;
        let content = self.store.content(user_id, document_id).await?.ok_or(KycError::NoDocument)?;
        let (keys, place) = (Arc::clone(&self.keys), document_place(document_id));
        let opening = tokio::task::spawn_blocking(move || keys.open(&place, &content.content));
        let Ok(plain) = opening.await else { return Err(KycError::Busy) };
        Ok((entry, plain?))
    }

    /// Removes a document of the caller's, with its content.
    ///
    /// # Errors
    /// [`KycError::NoDocument`], [`KycError::Locked`], [`KycError::NotReady`], [`KycError::Lane`].
    pub async fn remove_document(&self, user: &CurrentUser, document_id: String) -> Result<(), KycError> {
        self.ensure_ready()?;
        let command = RemoveDocument {
            user_id: user.user_id.clone(),
            document_id,
            actor: Actor::from(user),
            event_id: new_id("evt"),
        };
        self.guard_lane.submit(command).await?
    }

    /// Hands the caller's application in; `true` where it had been handed in before.
    ///
    /// # Errors
    /// [`KycError::Incomplete`], [`KycError::NotSubmittable`], [`KycError::Sealed`], [`KycError::NotReady`],
    /// [`KycError::Lane`].
    pub async fn submit(&self, user: &CurrentUser) -> Result<(Application, bool), KycError> {
        self.ensure_ready()?;
        let papers_key = self.papers_key.get_or_try_init(|| self.store.papers_key(&self.keys)).await?.clone();
        let command = Submit {
            user_id: user.user_id.clone(),
            keys: Arc::clone(&self.keys),
            papers_key,
            queue: self.queue.clone(),
            name_match_min_percent: self.name_match_min_percent,
            actor: Actor::from(user),
            correlation_id: user.request_id.clone(),
            job_id: new_id("job"),
            check_references: std::array::from_fn(|_| new_id("chk")),
            event_ids: [new_id("evt"), new_id("evt")],
        };
        let (application, replayed) = self.lane.submit(command).await??;
        if let Some(queue) = self.queue.as_ref().filter(|_| !replayed) {
            self.waker.wake(queue.name);
        }
        Ok((*application, replayed))
    }

    /// Applications that were handed in, oldest submission first, and whether there are more; written down.
    ///
    /// # Errors
    /// [`KycError::Database`].
    pub async fn list(
        &self,
        reviewer: &CurrentUser,
        filter: &ApplicationFilter,
        limit: usize,
    ) -> Result<(Vec<Application>, bool), KycError> {
        let mut found = self.store.list(filter, limit).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let state = filter.state.map_or("any", super::model::KycState::as_str);
        self.record_reading(reviewer, "kyc.applications_listed", ("kyc_applications", state), None).await?;
        Ok((found, more))
    }

    /// One application, with its numbers for a reviewer and without for an auditor; written down before it is shown.
    ///
    /// # Errors
    /// [`KycError::NotFound`], [`KycError::Sealed`], [`KycError::Database`].
    pub async fn review(
        &self,
        reviewer: &CurrentUser,
        user_id: &str,
    ) -> Result<(Application, Option<Numbers>, Vec<LinkedAccount>), KycError> {
        let application = self.store.find(user_id).await?.ok_or(KycError::NotFound)?;
        let numbers = match reviewer.role {
            Role::Admin => Some(open_numbers(&application, &self.keys)?),
            Role::Merchant | Role::Finance | Role::Auditor | Role::Manager | Role::Customer => None,
        };
        let owner = Some(application.user_id.clone());
        self.record_reading(reviewer, "kyc.application_read", ("kyc_application", &application.id), owner).await?;
        let linked = self.linked(&application).await?;
        Ok((application, numbers, linked))
    }

    /// Other accounts that have handed in the same numbers, for who reviews.
    ///
    /// # Errors
    /// [`KycError::Database`].
    pub async fn linked(&self, application: &Application) -> Result<Vec<LinkedAccount>, KycError> {
        Ok(self.store.linked(application, self.clock.now()).await?)
    }

    /// Decides about an application.
    ///
    /// # Errors
    /// [`KycError::NotFound`], [`KycError::NotDecidable`], [`KycError::Changed`], [`KycError::SecondPersonNeeded`],
    /// [`KycError::NotReady`], [`KycError::Lane`].
    pub async fn decide(
        &self,
        reviewer: &CurrentUser,
        user_id: String,
        decision: NewDecision,
    ) -> Result<Application, KycError> {
        self.ensure_ready()?;
        let command = DecideApplication {
            user_id,
            verdict: decision.verdict,
            reason: decision.reason,
            requirements: decision.requirements,
            submission: decision.submission,
            four_eyes: self.four_eyes,
            actor: Actor::from(reviewer),
            event_id: new_id("evt"),
        };
        self.lane.submit(AsUser::new(reviewer, command)).await??.map(|application| *application)
    }

    /// Erases what is personal of a rejected application.
    ///
    /// # Errors
    /// [`KycError::NotFound`], [`KycError::NotErasable`], [`KycError::NotReady`], [`KycError::Lane`].
    pub async fn erase(&self, who: &CurrentUser, user_id: String, reason: String) -> Result<(), KycError> {
        self.ensure_ready()?;
        let command = Erase { user_id, reason, actor: Actor::from(who), event_id: new_id("evt") };
        self.guard_lane.submit(AsUser::new(who, command)).await??
    }

    /// The time by which ages are told.
    #[must_use]
    pub fn now(&self) -> bson::DateTime {
        self.clock.now()
    }

    async fn record_reading(
        &self,
        reader: &CurrentUser,
        action: &str,
        resource: (&str, &str),
        owner: Option<String>,
    ) -> Result<(), KycError> {
        let read = AuditEvent::new(AuditOutcome::Done, Actor::from(reader), action, resource, self.clock.now());
        Ok(self.audit.record(&read.of_user(owner)).await?)
    }

    fn ensure_ready(&self) -> Result<(), KycError> {
        if self.indexes_present.load(Ordering::Relaxed) { Ok(()) } else { Err(KycError::NotReady) }
    }
}
