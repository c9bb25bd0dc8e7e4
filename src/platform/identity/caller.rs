//! From where a request came, also where nobody knows yet who sent it.

use std::{convert::Infallible, net::IpAddr};

use axum::{extract::FromRequestParts, http::request::Parts};

use super::{Actor, CurrentUser, Role};
use crate::platform::http::{ClientAddr, RequestId};

/// Address and id of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The client's address; none where no connection stands behind the request, as in some tests.
    pub address: Option<IpAddr>,
    /// `X-Request-Id`.
    pub request_id: String,
}

impl Caller {
    /// Somebody who has not said who it is.
    #[must_use]
    pub fn anonymous(&self) -> Actor {
        self.actor("anonymous", "", None)
    }

    /// A user who has just shown to be one; the role where it is at hand.
    #[must_use]
    pub fn user(&self, user_id: &str, role: Option<Role>) -> Actor {
        self.actor("user", user_id, role)
    }

    fn actor(&self, kind: &str, id: &str, role: Option<Role>) -> Actor {
        Actor {
            kind: kind.into(),
            id: id.into(),
            role: role.map(|role| role.as_str().into()),
            address: self.address.map(|address| address.to_string()),
            request_id: Some(self.request_id.clone()),
            key_id: None,
        }
    }
}

impl From<&CurrentUser> for Caller {
    fn from(user: &CurrentUser) -> Self {
        Self { address: user.address, request_id: user.request_id.clone() }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            address: parts.extensions.get::<ClientAddr>().map(|address| address.0),
            request_id: parts.extensions.get::<RequestId>().map(|id| id.0.to_string()).unwrap_or_default(),
        })
    }
}
