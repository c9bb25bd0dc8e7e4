//! Commands: fill in, erase, approve without review; and the event and audit record that every command writes. Submission is in
//! `submission`.

use std::sync::Arc;

use bson::{DateTime, Document, doc};

use super::{
    draft::{DraftChange, documents_are_open, has_room, locked_fields, same_document},
    error::KycError,
    model::{Application, DOCUMENTS, DocumentContent, DocumentEntry, KycState},
    papers,
    transitions::{KycCommand, next},
};
use crate::{
    modules::{
        audit::{
            self, AuditEvent, AuditOutcome,
            retention::{ensure_not_held, keys_of_hold},
        },
        events::{self, Actor, Event},
    },
    platform::{
        batch::{Command, Key, View},
        ids::sibling_id,
        sealing::SealingKeys,
    },
};

pub(super) type ChangedApplication = Result<Box<Application>, KycError>;

/// A change of an application, for its event and its audit record.
#[derive(Default)]
pub(super) struct ApplicationChange<'a> {
    /// Of the event: `KycSubmitted`, ...
    pub(super) kind: &'static str,
    /// Of the audit record: `kyc.submitted`, ...
    pub(super) action: &'static str,
    pub(super) before: Option<KycState>,
    /// Why, in the words of whoever did it.
    pub(super) reason: Option<&'a str>,
    /// Names of fields, codes, ids.
    pub(super) data: Document,
}

/// Writes the event and the audit record of a change of an application, which is to be written afterwards.
pub(super) fn record(
    view: &mut View,
    application: &mut Application,
    event_id: &str,
    actor: &Actor,
    happened: ApplicationChange<'_>,
) {
    let now = view.now();
    application.events += 1;
    let mut after = doc! { "state": application.state.as_str(), "submission": application.submission };
    after.extend(happened.data);
    let mut data = after.clone();
    data.insert("reason", happened.reason);
    events::record(
        view,
        &Event {
            id: event_id.to_owned(),
            kind: happened.kind.into(),
            subject_id: application.id.clone(),
            user_id: application.user_id.clone(),
            seq: application.events,
            actor: actor.clone(),
            data,
            at: now,
        },
    );
    let about = ("kyc_application", &*application.id);
    let event = AuditEvent::new(AuditOutcome::Done, actor.clone(), happened.action, about, now)
        .with_id(sibling_id("aud", event_id))
        .of_user(application.user_id.clone())
        .because(happened.reason.map(str::to_owned))
        .before(happened.before.map(|state| doc! { "state": state.as_str() }))
        .after(after);
    audit::record_event(view, &event);
}

/// A user's application, as it is or as it would begin; `true` where it is stored.
pub(super) fn application(view: &View, user_id: &str) -> (Application, bool) {
    match view.find::<Application>(&Application::key(user_id)) {
        Some(application) => (application, true),
        None => (Application::new(user_id, view.now()), false),
    }
}

fn put(view: &mut View, application: &Application, stored: bool) {
    if stored { view.update(application) } else { view.insert(application) }
}

/// Keys that commands read before they destroy anything, because of legal holds.
fn keys_to_destroy(user_id: &str) -> Vec<Key> {
    let mut wanted = vec![Application::key(user_id)];
    wanted.extend(keys_of_hold(user_id));
    wanted
}

pub(super) struct SaveDraft {
    pub(super) user_id: String,
    pub(super) change: DraftChange,
    pub(super) keys: Arc<SealingKeys>,
    pub(super) actor: Actor,
    pub(super) event_id: String,
}

impl Command for SaveDraft {
    type Reply = ChangedApplication;

    fn reads(&self) -> Vec<Key> {
        vec![Application::key(&self.user_id)]
    }

    fn decide(&self, view: &mut View) -> ChangedApplication {
        let (mut application, stored) = application(view, &self.user_id);
        let before = application.state;
        // Of what is locked as a whole nothing is said, not even whether it was repeated.
        let Some(state) = next(before, KycCommand::Save) else {
            return Err(KycError::Locked(before, locked_fields(&application, &self.change.fields())));
        };
        let change = self.change.without_repetition(&application, &self.keys)?;
        let fields = change.fields();
        let locked = locked_fields(&application, &fields);
        if !locked.is_empty() {
            return Err(KycError::Locked(before, locked));
        }
        if fields.is_empty() && stored {
            return Ok(Box::new(application));
        }
        change.apply(&mut application, view.now());
        application.state = state;
        let happened = ApplicationChange {
            kind: "KycDraftSaved",
            action: "kyc.draft_saved",
            before: Some(before),
            data: doc! { "fields": fields },
            ..ApplicationChange::default()
        };
        record(view, &mut application, &self.event_id, &self.actor, happened);
        put(view, &application, stored);
        Ok(Box::new(application))
    }
}

pub(super) struct AddDocument {
    pub(super) user_id: String,
    pub(super) entry: DocumentEntry,
    pub(super) content: DocumentContent,
    pub(super) actor: Actor,
    pub(super) event_id: String,
}

impl Command for AddDocument {
    /// The document, and whether it was there.
    type Reply = Result<(DocumentEntry, bool), KycError>;

    fn reads(&self) -> Vec<Key> {
        vec![Application::key(&self.user_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let (mut application, stored) = application(view, &self.user_id);
        let (kind, before) = (self.entry.kind, application.state);
        if let Some(there) = same_document(&application, kind, &self.entry.sha256) {
            return Ok((there.clone(), true));
        }
        if !documents_are_open(&application, kind, false) {
            return Err(locked_document(before, &kind.field()));
        }
        if !has_room(&application, kind) {
            return Err(KycError::TooManyDocuments);
        }
        let entry = DocumentEntry { uploaded_at: view.now(), ..self.entry.clone() };
        application.documents.push(entry.clone());
        application.state = next(before, KycCommand::Save).unwrap_or(before);
        application.updated_at = view.now();
        view.append(DOCUMENTS, &self.content);
        let happened = ApplicationChange {
            kind: "KycDocumentAdded",
            action: "kyc.document_added",
            before: Some(before),
            data: doc! { "documentId": &entry.id, "kind": kind.as_str() },
            ..ApplicationChange::default()
        };
        record(view, &mut application, &self.event_id, &self.actor, happened);
        put(view, &application, stored);
        Ok((entry, false))
    }

    fn bytes(&self) -> usize {
        usize::try_from(self.entry.bytes).unwrap_or_default()
    }
}

fn locked_document(state: KycState, field: &str) -> KycError {
    let message = "is locked: it was handed in, and nobody asked to change it";
    KycError::Locked(state, vec![crate::platform::error::FieldError::new(field, "locked", message)])
}

pub(super) struct RemoveDocument {
    pub(super) user_id: String,
    pub(super) document_id: String,
    pub(super) actor: Actor,
    pub(super) event_id: String,
}

impl Command for RemoveDocument {
    type Reply = Result<(), KycError>;

    fn reads(&self) -> Vec<Key> {
        keys_to_destroy(&self.user_id)
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let (mut application, _) = application(view, &self.user_id);
        let position = application.documents.iter().position(|document| document.id == self.document_id);
        let position = position.ok_or(KycError::NoDocument)?;
        let kind = application.documents[position].kind;
        if !documents_are_open(&application, kind, true) {
            return Err(locked_document(application.state, &kind.field()));
        }
        ensure_not_held(view, &self.user_id)?;
        application.documents.remove(position);
        application.updated_at = view.now();
        view.remove(DOCUMENTS, &self.document_id);
        let happened = ApplicationChange {
            kind: "KycDocumentRemoved",
            action: "kyc.document_removed",
            before: Some(application.state),
            data: doc! { "documentId": &self.document_id, "kind": kind.as_str() },
            ..ApplicationChange::default()
        };
        record(view, &mut application, &self.event_id, &self.actor, happened);
        view.update(&application);
        Ok(())
    }
}

/// Erases what is personal of a rejected application, on request.
pub(super) struct Erase {
    pub(super) user_id: String,
    pub(super) reason: String,
    pub(super) actor: Actor,
    pub(super) event_id: String,
}

/// The erased application: ids, states and times stay. The keyed hashes of its papers stay for a while beside it, see [`papers`].
fn erased(application: &Application, now: DateTime) -> Application {
    let without_reason = |decision: &super::model::ReviewDecision| super::model::ReviewDecision {
        reason: "[erased]".into(),
        ..decision.clone()
    };
    Application {
        state: application.state,
        provider: application.provider.clone(),
        submission: application.submission,
        events: application.events,
        job_id: application.job_id.clone(),
        open_call: application.open_call.clone(),
        provider_request_ref_id: application.provider_request_ref_id.clone(),
        provider_response_ref_id: application.provider_response_ref_id.clone(),
        decision: application.decision.as_ref().map(without_reason),
        submitted_at: application.submitted_at,
        erased_at: Some(now),
        updated_at: now,
        ..Application::new(&application.user_id, application.created_at)
    }
}

impl Command for Erase {
    type Reply = Result<(), KycError>;

    fn reads(&self) -> Vec<Key> {
        keys_to_destroy(&self.user_id)
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let (application, stored) = application(view, &self.user_id);
        // Other ids with the same body lead to the same application.
        if !stored || application.user_id != self.user_id {
            return Err(KycError::NotFound);
        }
        if application.erased_at.is_some() {
            return Ok(());
        }
        if next(application.state, KycCommand::Erase).is_none() {
            return Err(KycError::NotErasable(application.state));
        }
        ensure_not_held(view, &self.user_id)?;
        papers::erase(view, &application);
        let mut kept = erased(&application, view.now());
        for document in &application.documents {
            view.remove(DOCUMENTS, &document.id);
        }
        let happened = ApplicationChange {
            kind: "KycErased",
            action: "kyc.erased",
            before: Some(application.state),
            reason: Some(&self.reason),
            data: doc! { "documents": application.documents.len() as i64 },
        };
        record(view, &mut kept, &self.event_id, &self.actor, happened);
        view.update(&kept);
        Ok(())
    }
}

/// Says that a user is known already.
pub(super) struct GrantApproval {
    pub(super) user_id: String,
    pub(super) actor: Actor,
    pub(super) event_id: String,
}

impl Command for GrantApproval {
    type Reply = Result<(), KycError>;

    fn reads(&self) -> Vec<Key> {
        vec![Application::key(&self.user_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let (mut application, stored) = application(view, &self.user_id);
        let before = application.state;
        if before == KycState::Verified {
            return Ok(());
        }
        application.state = next(before, KycCommand::Grant).ok_or(KycError::NotDecidable(before))?;
        application.updated_at = view.now();
        let happened = ApplicationChange {
            kind: "KycGranted",
            action: "kyc.granted",
            before: Some(before),
            reason: Some("Known already."),
            ..ApplicationChange::default()
        };
        record(view, &mut application, &self.event_id, &self.actor, happened);
        put(view, &application, stored);
        Ok(())
    }
}
