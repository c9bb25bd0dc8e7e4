//! The console: what its pages are made of, and what every page shares.

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use minijinja::Environment;
use serde_json::{Value, json};

use super::{
    action::Action,
    api::{Api, Refused},
    area::{Area, Download},
    areas, assets,
    cookies::Cookies,
    page::Page,
    render,
};
use crate::{
    modules::{
        auth::{BrowserSession, BrowserSessions},
        queue::QueueWatch,
    },
    platform::{clock::Clock, error::AppError, identity::Role, sealing::SealingKeys},
};

/// Under it everything is.
pub(super) const ROOT: &str = "/admin";
/// Where this runs on one's own machine, without HTTPS.
const ON_THIS_MACHINE: &str = "development";

/// Parts of the console.
#[derive(Clone, Debug)]
pub struct ConsoleParts {
    /// The API.
    pub api: Router,
    /// Sessions of users.
    pub sessions: BrowserSessions,
    /// News of the queues.
    pub queues: QueueWatch,
    /// Keys that seal the state between the two steps of signing in.
    pub sealing: Arc<SealingKeys>,
    /// Time.
    pub clock: Clock,
    /// Name of the installation, on every page; `production` in red.
    pub environment: String,
    /// Where users reach it, where that is set.
    pub public_url: Option<String>,
}

/// The console.
#[derive(Debug)]
pub(super) struct Console {
    pub(super) api: Api,
    pub(super) sessions: BrowserSessions,
    pub(super) queues: QueueWatch,
    pub(super) sealing: Arc<SealingKeys>,
    pub(super) clock: Clock,
    pub(super) cookies: Cookies,
    templates: OnceLock<Environment<'static>>,
    pub(super) areas: Vec<Area>,
    environment: String,
    public_origin: Option<String>,
}

impl Console {
    pub(super) fn new(parts: ConsoleParts) -> Self {
        let areas = areas::all();
        let origin = |url: &String| url.parse::<Uri>().ok().and_then(|uri| Some(uri.authority()?.to_string()));
        Self {
            api: Api(parts.api),
            sessions: parts.sessions,
            queues: parts.queues,
            sealing: parts.sealing,
            clock: parts.clock,
            cookies: Cookies { secure: parts.environment != ON_THIS_MACHINE },
            templates: OnceLock::new(),
            areas,
            environment: parts.environment,
            public_origin: parts.public_url.as_ref().and_then(origin),
        }
    }

    /// Read once somebody looks at a page: most processes show none.
    pub(super) fn templates(&self) -> &Environment<'static> {
        self.templates.get_or_init(|| render::environment(&self.areas))
    }

    pub(super) async fn session(
        &self,
        headers: &HeaderMap,
        somebody_is_there: bool,
    ) -> Result<Option<BrowserSession>, Refused> {
        let Some(cookie) = self.cookies.session_of(headers) else { return Ok(None) };
        Ok(self.sessions.find(cookie, somebody_is_there).await.map_err(AppError::from)?)
    }

    pub(super) fn pages(&self) -> impl Iterator<Item = &Page> {
        self.areas.iter().flat_map(|area| &area.pages)
    }

    pub(super) fn action(&self, name: &str) -> Option<&Action> {
        self.areas.iter().flat_map(|area| &area.actions).find(|action| action.name == name)
    }

    pub(super) fn download(&self, name: &str) -> Option<&Download> {
        self.areas.iter().flat_map(|area| &area.downloads).find(|download| download.name == name)
    }

    /// Whether something under this path is there for the role, by the roles of pages and files. What is nowhere is for nobody to hide.
    pub(super) fn opens(&self, role: Option<&str>, path: &str) -> bool {
        // Before signing in nobody knows.
        if role.is_none() {
            return true;
        }
        let Some(rest) = path.strip_prefix(ROOT).map(|rest| rest.trim_end_matches('/')) else { return true };
        let roles = match rest.strip_prefix("/file/") {
            Some(name) => self.download(name).map(|download| download.roles),
            // Everybody has a first page.
            None if rest.is_empty() => None,
            None => self.pages().find(|page| page.matches(rest).is_some()).map(|page| page.roles),
        };
        roles.is_none_or(|roles| roles.iter().any(|own| Some(own.as_str()) == role))
    }

    /// A page of this template, without links that its reader can't open.
    pub(super) fn page(&self, template: &str, status: StatusCode, values: &Value) -> Response {
        let role = values["c"]["user"]["role"].as_str();
        render::page(self.templates(), template, status, values, |path| self.opens(role, path))
    }

    pub(super) fn has_pages(&self, role: Role) -> bool {
        self.pages().any(|page| page.roles.contains(&role))
    }

    /// Whether a form comes from a page of ours, as far as the browser says.
    pub(super) fn is_from_here(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(site) = text("sec-fetch-site") {
            return site == "same-origin" || site == "none";
        }
        let Some(origin) = text("origin") else { return true };
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_some() && (authority == text("host") || authority == self.public_origin.as_deref())
    }

    /// Values that the layout needs of every page.
    pub(super) fn common(&self, title: &str) -> Value {
        json!({
            "title": title,
            "environment": self.environment,
            "style": assets::ADDRESSES.style,
            "script": assets::ADDRESSES.script,
        })
    }
}
