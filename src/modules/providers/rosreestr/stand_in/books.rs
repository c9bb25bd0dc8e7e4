//! The register's books: what it was asked for and what it has, per request id.

use std::{
    collections::{HashMap, VecDeque},
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    contract::Request,
    course::{Course, Standing, Step},
    files::{self, FileSpec, Kind},
};
use crate::{
    entries::{Entries, Placed},
    payload::Payload,
    stand::Books,
};

#[derive(Default)]
pub struct Registry {
    pub docflows: Entries<Docflow>,
    /// The latest is the last.
    pub courses: Vec<Course>,
    /// Request ids and cadastral numbers, by docflow.
    placed: HashMap<String, (String, String)>,
    /// Calls for a docflow of another account.
    foreign: u64,
}

pub struct Docflow {
    id: String,
    request_id: String,
    account: String,
    kind: String,
    cadastral_number: String,
    state: Standing,
    /// When that began, and how many polls have seen it.
    since: Instant,
    seen: u32,
    steps: VecDeque<Step>,
    error: String,
    files: Vec<File>,
}

struct File {
    id: String,
    name: String,
    content_type: String,
    is_signature: bool,
    payload: Payload,
    /// Of the content without faults; read when it is asked for.
    sha256: OnceLock<String>,
    downloads: u64,
}

impl Registry {
    /// Adds what a call for a docflow does not say.
    pub fn complete(&self, request: &mut Request) {
        if let Some(placed) = self.placed.get(&request.docflow_id) {
            (request.request_id, request.cadastral_number) = placed.clone();
        }
    }

    /// The answer to a new docflow; `None` where its account has one with this request id.
    pub fn place(&mut self, request: &Request) -> Option<Value> {
        let number = &request.cadastral_number;
        let is_its = |course: &&Course| course.cadastral_number.as_ref().is_none_or(|its| its == number);
        let course = self.courses.iter().rev().find(is_its).cloned().unwrap_or_default();
        let docflow = self.docflows.place(&request.request_id, Docflow::new(request, course))?;
        self.placed.insert(docflow.id.clone(), (request.request_id.clone(), number.clone()));
        Some(json!({"docflowId": docflow.id, "state": docflow.state}))
    }

    pub fn under_number(&mut self, request: &Request) -> Option<&mut Docflow> {
        self.docflows.all_of(&request.request_id).iter_mut().find(|docflow| docflow.account == request.account)
    }

    /// The docflow of that id, if it is the account's.
    pub fn docflow(&mut self, request: &Request) -> Option<&mut Docflow> {
        let all = self.docflows.all_of(&request.request_id);
        let docflow = all.iter_mut().find(|docflow| docflow.id == request.docflow_id)?;
        if docflow.account == request.account {
            return Some(docflow);
        }
        self.foreign += 1;
        None
    }
}

impl Docflow {
    fn new(request: &Request, course: Course) -> Self {
        let cadastral_number = request.cadastral_number.clone();
        let mut files: Vec<_> =
            (1..).zip(&course.files).map(|(n, spec)| File::new(n, spec, &cadastral_number)).collect();
        let signature = FileSpec {
            kind: Kind::Signature,
            name: course.files.first().map_or_else(|| "extract.sig".to_owned(), |file| format!("{}.sig", file.name)),
            bytes: 2_000,
            id: None,
            content_type: None,
        };
        files.push(File::new(files.len() + 1, &signature, &cadastral_number));
        Self {
            id: hex::encode(rand::random::<[u8; 16]>()),
            request_id: request.request_id.clone(),
            account: request.account.clone(),
            kind: request.kind.clone(),
            cadastral_number,
            state: Standing::Queued,
            since: Instant::now(),
            seen: 0,
            steps: course.steps.into(),
            error: course.error,
            files,
        }
    }

    /// Makes the steps whose time has come.
    fn go_on(&mut self, now: Instant) {
        while let Some(step) = self.steps.front() {
            let due = self.since + Duration::from_millis(step.after_ms);
            if self.seen < step.after_polls || now < due {
                return;
            }
            self.state = step.state;
            self.since = if step.after_polls == 0 { due } else { now };
            self.seen = 0;
            self.steps.pop_front();
        }
    }

    /// Stands there from now on.
    pub fn stay(&mut self, step: &Step) {
        self.steps.clear();
        self.state = step.state;
    }

    pub fn looked_up(&mut self, now: Instant) -> Value {
        self.go_on(now);
        json!({"docflowId": self.id, "requestId": self.request_id, "state": self.state})
    }

    pub fn polled(&mut self, now: Instant) -> Value {
        let mut answer = self.looked_up(now);
        self.seen += 1;
        answer["error"] = json!((self.state == Standing::Error).then_some(&self.error));
        answer["files"] = self.files.iter().filter(|file| file.is_there(self.state)).map(File::answered).collect();
        answer
    }

    pub fn download(&mut self, file_id: &str, now: Instant) -> Option<Payload> {
        self.go_on(now);
        let file = self.files.iter_mut().find(|file| file.id == file_id && file.is_there(self.state))?;
        file.downloads += 1;
        Some(file.payload.clone())
    }
}

impl File {
    fn new(number: usize, spec: &FileSpec, cadastral_number: &str) -> Self {
        Self {
            id: spec.id.clone().unwrap_or_else(|| number.to_string()),
            name: spec.name.clone(),
            content_type: spec.content_type.clone().unwrap_or_else(|| spec.kind.content_type().to_owned()),
            is_signature: spec.kind == Kind::Signature,
            payload: files::make(spec, cadastral_number),
            sha256: OnceLock::new(),
            downloads: 0,
        }
    }

    fn is_there(&self, state: Standing) -> bool {
        state == Standing::Verified || state == Standing::Completed && !self.is_signature
    }

    fn answered(&self) -> Value {
        json!({"id": self.id, "name": self.name, "contentType": self.content_type})
    }

    fn shown(&self) -> Value {
        let mut shown = self.answered();
        shown["bytes"] = json!(self.payload.len());
        shown["sha256"] = json!(self.sha256.get_or_init(|| self.payload.sha256()));
        shown["downloads"] = json!(self.downloads);
        shown
    }
}

impl Placed for Docflow {
    const NUMBER: &'static str = "requestId";
    const NAME: &'static str = "docflows";

    fn account(&self) -> &str {
        &self.account
    }

    /// By the state that was last told.
    fn is_alive(&self) -> bool {
        self.state != Standing::Error
    }

    /// With the state that was last told.
    fn shown(&self) -> Value {
        json!({
            "docflowId": self.id,
            "account": self.account,
            "type": self.kind,
            "cadastralNumber": self.cadastral_number,
            "state": self.state,
            "files": self.files.iter().map(File::shown).collect::<Vec<_>>(),
        })
    }
}

impl Books for Registry {
    fn totals(&self) -> Value {
        let mut totals = self.docflows.totals();
        totals["foreign"] = json!(self.foreign);
        totals
    }

    fn entry(&self, request_id: &str) -> Option<Value> {
        self.docflows.entry(request_id)
    }

    fn entries(&self) -> Vec<Value> {
        self.docflows.entries()
    }

    fn alive(&self, request_id: &str) -> usize {
        self.docflows.alive(request_id)
    }

    /// Courses stay, as rules do.
    fn clear(&mut self) {
        *self = Self { courses: std::mem::take(&mut self.courses), ..Self::default() };
    }
}
