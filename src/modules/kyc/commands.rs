//! What the API decides: filling in, handing in, erasing. And what all decisions write.

use std::sync::Arc;

use bson::{DateTime, Document, doc};

use super::{
    VERIFY_KIND,
    checking::{Sum, again, next_check, sum},
    draft::{DraftChange, defects, documents_are_open, has_room, locked_fields, open_numbers, same_document},
    error::KycError,
    model::{Application, Check, DOCUMENTS, DocumentContent, DocumentEntry, KycState},
    transitions::{KycCommand, next},
};
use crate::{
    modules::{
        audit::{self, AuditEvent, AuditOutcome},
        events::{self, Actor, EVENTS, Event},
        providers::idcheck::{self, CheckKind},
        queue::{Job, QueueConfig},
    },
    platform::{
        batch::{Command, Key, View},
        ids::sibling_id,
        sealing::SealingKeys,
    },
};

/// Who checks where there is no verification provider.
pub const MANUAL: &str = "manual";

/// From the next submission on a person looks: who tries out numbers must not do it at our cost.
const CHECKED_SUBMISSIONS_MAX: i32 = 5;

/// An application after a command.
pub(super) type Changed = Result<Box<Application>, KycError>;

/// What happened to an application, for its event and its audit record.
#[derive(Default)]
pub(super) struct Happened<'a> {
    /// Of the event: `KycSubmitted`, ...
    pub(super) kind: &'static str,
    /// Of the audit record: `kyc.submitted`, ...
    pub(super) action: &'static str,
    /// Where it was before.
    pub(super) before: Option<KycState>,
    /// Why, in the words of whoever did it.
    pub(super) reason: Option<&'a str>,
    /// What else is worth knowing: names of fields, codes, ids.
    pub(super) data: Document,
}

/// Writes the event and the audit record of a change.
pub(super) fn record(
    view: &mut View,
    application: &Application,
    event_id: &str,
    actor: &Actor,
    happened: Happened<'_>,
) {
    let now = view.now();
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
            actor: actor.clone(),
            data,
            at: now,
        },
    );
    audit::record_event(
        view,
        &AuditEvent {
            id: sibling_id("aud", event_id),
            actor: actor.clone(),
            action: happened.action.into(),
            resource_type: "kyc_application".into(),
            resource_id: application.id.clone(),
            user_id: Some(application.user_id.clone()),
            outcome: AuditOutcome::Done,
            reason: happened.reason.map(str::to_owned),
            before: happened.before.map(|state| doc! { "state": state.as_str() }),
            after: Some(after),
            at: now,
        },
    );
}

/// A user's application, as it is or as it would begin; `true` where it is stored.
fn application(view: &View, user_id: &str) -> (Application, bool) {
    match view.find::<Application>(&Application::key(user_id)) {
        Some(application) => (application, true),
        None => (Application::new(user_id, view.now()), false),
    }
}

fn put(view: &mut View, application: &Application, stored: bool) {
    if stored { view.update(application) } else { view.insert(application) }
}

/// What every command here reads; finding one's own event means that it was carried out.
pub(super) fn keys(user_id: &str, event_id: &str) -> Vec<Key> {
    vec![Application::key(user_id), Key::id(EVENTS, event_id)]
}

/// Whether an earlier run of this very transaction was committed after all.
pub(super) fn was_done(view: &View, event_id: &str) -> bool {
    view.contains(&Key::id(EVENTS, event_id))
}

/// Fills in a draft.
pub(super) struct SaveDraft {
    pub(super) user_id: String,
    pub(super) change: DraftChange,
    pub(super) keys: Arc<SealingKeys>,
    pub(super) actor: Actor,
    pub(super) event_id: String,
}

impl Command for SaveDraft {
    type Reply = Changed;

    fn reads(&self, _: &View) -> Vec<Key> {
        keys(&self.user_id, &self.event_id)
    }

    fn decide(&self, view: &mut View) -> Changed {
        let (mut application, stored) = application(view, &self.user_id);
        if was_done(view, &self.event_id) {
            return Ok(Box::new(application));
        }
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
        put(view, &application, stored);
        let happened = Happened {
            kind: "KycDraftSaved",
            action: "kyc.draft_saved",
            before: Some(before),
            data: doc! { "fields": fields },
            ..Happened::default()
        };
        record(view, &application, &self.event_id, &self.actor, happened);
        Ok(Box::new(application))
    }
}

/// Adds a document, with its content.
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

    fn reads(&self, _: &View) -> Vec<Key> {
        keys(&self.user_id, &self.event_id)
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let (mut application, stored) = application(view, &self.user_id);
        let (kind, before) = (self.entry.kind, application.state);
        if let Some(there) = same_document(&application, kind, &self.entry.sha256) {
            return Ok((there.clone(), there.id != self.entry.id));
        }
        if was_done(view, &self.event_id) {
            // It was added, and somebody has removed it meanwhile.
            return Ok((self.entry.clone(), false));
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
        put(view, &application, stored);
        view.append(DOCUMENTS, &self.content);
        let happened = Happened {
            kind: "KycDocumentAdded",
            action: "kyc.document_added",
            before: Some(before),
            data: doc! { "documentId": &entry.id, "kind": kind.as_str() },
            ..Happened::default()
        };
        record(view, &application, &self.event_id, &self.actor, happened);
        Ok((entry, false))
    }
}

fn locked_document(state: KycState, field: &str) -> KycError {
    let message = "is locked: it was handed in, and nobody asked to change it";
    KycError::Locked(state, vec![crate::platform::error::FieldError::new(field, "locked", message)])
}

/// Removes a document, with its content.
pub(super) struct RemoveDocument {
    pub(super) user_id: String,
    pub(super) document_id: String,
    pub(super) actor: Actor,
    pub(super) event_id: String,
}

impl Command for RemoveDocument {
    type Reply = Result<(), KycError>;

    fn reads(&self, _: &View) -> Vec<Key> {
        keys(&self.user_id, &self.event_id)
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        if was_done(view, &self.event_id) {
            return Ok(());
        }
        let (mut application, _) = application(view, &self.user_id);
        let position = application.documents.iter().position(|document| document.id == self.document_id);
        let position = position.ok_or(KycError::NoDocument)?;
        let kind = application.documents[position].kind;
        if !documents_are_open(&application, kind, true) {
            return Err(locked_document(application.state, &kind.field()));
        }
        application.documents.remove(position);
        application.updated_at = view.now();
        view.update(&application);
        view.remove(DOCUMENTS, &self.document_id);
        let happened = Happened {
            kind: "KycDocumentRemoved",
            action: "kyc.document_removed",
            before: Some(application.state),
            data: doc! { "documentId": &self.document_id, "kind": kind.as_str() },
            ..Happened::default()
        };
        record(view, &application, &self.event_id, &self.actor, happened);
        Ok(())
    }
}

/// Hands an application in: everything is looked at once, the fields lock, and the checks begin.
pub(super) struct Submit {
    pub(super) user_id: String,
    pub(super) keys: Arc<SealingKeys>,
    /// Where the checks are made; none where persons make them.
    pub(super) queue: Option<QueueConfig>,
    /// A name that is less similar is left to a person.
    pub(super) name_match_min_percent: u8,
    pub(super) actor: Actor,
    pub(super) correlation_id: String,
    pub(super) job_id: String,
    pub(super) check_references: [String; CheckKind::ALL.len()],
    pub(super) event_ids: [String; 2],
}

impl Submit {
    /// Keeps what is known of what stands in the application, and adds what is still to be checked.
    fn plan_checks(&self, application: &mut Application) {
        let references = CheckKind::ALL.into_iter().zip(&self.check_references);
        let has_gstin = application.gstin.is_some();
        let needed = references.filter(|(kind, _)| *kind != CheckKind::Gstin || has_gstin);
        let name = application.legal_name.clone().unwrap_or_default();
        let planned = needed.map(|(kind, reference)| match application.check(kind) {
            Some(check) => again(check, reference, &name, self.name_match_min_percent),
            None => Check::pending(kind, reference),
        });
        application.checks = planned.collect();
    }

    /// Begins the checks; or settles it at once, where there is nobody to ask or nothing to be asked.
    fn start(&self, view: &mut View, application: &mut Application) {
        let refer_because = |view: &mut View, application: &mut Application, why| {
            refer(view, application, &self.event_ids[1], &self.actor, why);
        };
        let now = view.now();
        application.job_id = None;
        let Some(queue) = &self.queue else {
            application.checks.clear();
            application.provider = Some(MANUAL.into());
            return refer_because(view, application, "There is no verification provider.");
        };
        application.provider = Some(idcheck::NAME.into());
        self.plan_checks(application);
        if application.submission > CHECKED_SUBMISSIONS_MAX {
            return refer_because(view, application, "It was handed in too often to be checked once more.");
        }
        if next_check(application).is_none() {
            return settle(view, application, &self.event_ids[1], &self.actor);
        }
        application.job_id = Some(self.job_id.clone());
        let payload = doc! { "applicationId": &application.id };
        view.insert(&Job::new(self.job_id.clone(), queue, VERIFY_KIND, payload, &self.correlation_id, now));
    }
}

/// What the checks, all of them made, lead to.
pub(super) fn settle(view: &mut View, application: &mut Application, event_id: &str, actor: &Actor) {
    let before = application.state;
    let (command, kind, action, reason) = match sum(application) {
        Sum::GoOn => return,
        Sum::Unclear(why) => return refer(view, application, event_id, actor, why),
        // No check looks at papers: who has asked for one has to see it.
        Sum::Passed if application.paper_was_asked_for => {
            return refer(view, application, event_id, actor, "Every check passed; a reviewer has asked for a paper.");
        }
        Sum::Passed => (KycCommand::Pass, "KycVerified", "kyc.verified", "Every check passed."),
        Sum::Failed(requirements) => {
            application.requirements = requirements;
            (KycCommand::Fail, "KycClarificationNeeded", "kyc.clarification_needed", "A check failed.")
        }
    };
    application.state = next(before, command).unwrap_or(before);
    let fields: Vec<_> = application.requirements.iter().map(|asked| &*asked.field).collect();
    let data = if fields.is_empty() {
        Document::new()
    } else {
        doc! { "requirements": fields }
    };
    let happened = Happened { kind, action, before: Some(before), reason: Some(reason), data };
    record(view, application, event_id, actor, happened);
}

impl Command for Submit {
    /// The application, and whether it had been handed in before.
    type Reply = Result<(Box<Application>, bool), KycError>;

    fn reads(&self, _: &View) -> Vec<Key> {
        keys(&self.user_id, &self.event_ids[0])
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let (mut application, _) = application(view, &self.user_id);
        if was_done(view, &self.event_ids[0]) {
            return Ok((Box::new(application), false));
        }
        let before = application.state;
        let Some(state) = next(before, KycCommand::Submit) else {
            return match before {
                // A client that lost the answer asks again.
                KycState::Submitted | KycState::UnderReview => Ok((Box::new(application), true)),
                KycState::Verified if application.submission > 0 => Ok((Box::new(application), true)),
                _ => Err(KycError::NotSubmittable(before)),
            };
        };
        let defects = defects(&application, &open_numbers(&application, &self.keys)?);
        if !defects.is_empty() {
            return Err(KycError::Incomplete(defects));
        }
        let now = view.now();
        application.state = state;
        application.submission += 1;
        application.paper_was_asked_for |=
            application.requirements.iter().any(|asked| asked.field.starts_with("documents."));
        application.requirements.clear();
        application.first_approval = None;
        application.submitted_at = Some(now);
        application.updated_at = now;
        let submitted =
            Happened { kind: "KycSubmitted", action: "kyc.submitted", before: Some(before), ..Happened::default() };
        record(view, &application, &self.event_ids[0], &self.actor, submitted);
        self.start(view, &mut application);
        view.update(&application);
        Ok((Box::new(application), false))
    }
}

/// Leaves an application to a person; does nothing where one has decided.
pub(super) fn refer(view: &mut View, application: &mut Application, event_id: &str, actor: &Actor, reason: &str) {
    let before = application.state;
    let Some(state) = next(before, KycCommand::Refer) else { return };
    application.state = state;
    let referred = Happened {
        kind: "KycReferred",
        action: "kyc.referred",
        before: Some(before),
        reason: Some(reason),
        ..Happened::default()
    };
    record(view, application, event_id, actor, referred);
}

/// Erases what is personal of a rejected application, on request.
pub(super) struct Erase {
    pub(super) user_id: String,
    pub(super) reason: String,
    pub(super) actor: Actor,
    pub(super) event_id: String,
}

/// What an application keeps when it is erased: its ids, its states and times.
fn erased(application: &Application, now: DateTime) -> Application {
    let without_reason =
        |decision: &super::model::Decision| super::model::Decision { reason: "[erased]".into(), ..decision.clone() };
    Application {
        state: application.state,
        provider: application.provider.clone(),
        submission: application.submission,
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

    fn reads(&self, _: &View) -> Vec<Key> {
        keys(&self.user_id, &self.event_id)
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
        let kept = erased(&application, view.now());
        view.update(&kept);
        for document in &application.documents {
            view.remove(DOCUMENTS, &document.id);
        }
        let happened = Happened {
            kind: "KycErased",
            action: "kyc.erased",
            before: Some(application.state),
            reason: Some(&self.reason),
            data: doc! { "documents": application.documents.len() as i64 },
        };
        record(view, &kept, &self.event_id, &self.actor, happened);
        Ok(())
    }
}

/// Says that a user is known already.
pub(super) struct Grant {
    pub(super) user_id: String,
    pub(super) actor: Actor,
    pub(super) event_id: String,
}

impl Command for Grant {
    type Reply = Result<(), KycError>;

    fn reads(&self, _: &View) -> Vec<Key> {
        keys(&self.user_id, &self.event_id)
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let (mut application, stored) = application(view, &self.user_id);
        let before = application.state;
        if before == KycState::Verified {
            return Ok(());
        }
        application.state = next(before, KycCommand::Grant).ok_or(KycError::NotDecidable(before))?;
        application.updated_at = view.now();
        put(view, &application, stored);
        let happened = Happened {
            kind: "KycGranted",
            action: "kyc.granted",
            before: Some(before),
            reason: Some("Known already."),
            ..Happened::default()
        };
        record(view, &application, &self.event_id, &self.actor, happened);
        Ok(())
    }
}
