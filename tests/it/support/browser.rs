//! A browser without a window, for the console: it keeps cookies, follows nothing by itself and sends the forms of pages.

use std::{cell::RefCell, collections::BTreeMap};

use reqwest::{Method, StatusCode, header::HeaderMap, redirect::Policy};

use super::{PASSWORD, TestApp, User};

/// A page, or what came instead.
#[derive(Clone, Debug)]
pub struct Seen {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Seen {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    #[track_caller]
    pub fn to(&self) -> &str {
        assert_eq!(self.status.as_u16(), 303, "{}", self.text);
        self.headers["location"].to_str().unwrap()
    }

    /// The value of the first hidden field of this name.
    pub fn field(&self, name: &str) -> Option<String> {
        let after = self.text.split(&format!("name=\"{name}\" value=\"")).nth(1)?;
        after.split('"').next().map(|value| value.replace("&amp;", "&").replace("&#x2f;", "/"))
    }

    #[track_caller]
    pub fn shows(self, words: &str) -> Self {
        assert!(self.text.contains(words), "{words} is not in {}", self.text);
        self
    }

    #[track_caller]
    pub fn hides(self, words: &str) -> Self {
        assert!(!self.text.contains(words), "{words} is in {}", self.text);
        self
    }
}

/// See above.
pub struct Browser {
    client: reqwest::Client,
    base: String,
    cookies: RefCell<BTreeMap<String, String>>,
    /// Of the last page with forms.
    token: RefCell<String>,
}

impl Browser {
    pub fn new(app: &TestApp) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).redirect(Policy::none());
        let client = client.timeout(std::time::Duration::from_secs(60)).build().unwrap();
        Self { client, base: app.base.clone(), cookies: RefCell::default(), token: RefCell::default() }
    }

    /// One in which `user` has signed in.
    pub async fn of(app: &TestApp, user: &User) -> Self {
        let browser = Self::new(app);
        let answer = browser.sign_in(&user.email, PASSWORD).await;
        assert_eq!(answer.to(), "/admin");
        browser.get("/admin/queues").await;
        browser
    }

    pub async fn sign_in(&self, email: &str, password: &str) -> Seen {
        let page = self.get("/admin/sign-in").await;
        let (token, next) = (page.field("token").unwrap(), page.field("next").unwrap());
        self.send(
            "/admin/sign-in",
            &[("token", &token), ("next", &next), ("email", email), ("password", password)],
            &[],
        )
        .await
    }

    pub async fn get(&self, path: &str) -> Seen {
        self.open(Method::GET, path, None, &[]).await
    }

    /// Sends a form of a page of this session.
    pub async fn act(&self, action: &str, fields: &[(&str, &str)]) -> Seen {
        let token = self.token();
        let mut all = vec![("token", &*token)];
        all.extend(fields);
        self.send(&format!("/admin/do/{action}"), &all, &[]).await
    }

    pub fn token(&self) -> String {
        self.token.borrow().clone()
    }

    pub fn cookies(&self) -> String {
        let cookies = self.cookies.borrow();
        cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    pub async fn send(&self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Seen {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.open(Method::POST, path, Some(body), headers).await
    }

    /// A stream of news.
    pub async fn follow(&self, path: &str) -> reqwest::Response {
        let request = self.client.get(format!("{}{path}", self.base)).header("cookie", self.cookies());
        request.send().await.unwrap()
    }

    async fn open(&self, method: Method, path: &str, form: Option<String>, headers: &[(&str, &str)]) -> Seen {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        request = request.header("cookie", self.cookies());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(form) = form {
            request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        }
        let response = request.send().await.unwrap();
        for cookie in response.headers().get_all("set-cookie") {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() {
                self.cookies.borrow_mut().remove(name);
            } else {
                self.cookies.borrow_mut().insert(name.to_owned(), value.to_owned());
            }
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let seen = Seen { status, headers, text: response.text().await.unwrap() };
        if let Some(token) = seen.field("token").filter(|_| !path.starts_with("/admin/sign-in")) {
            *self.token.borrow_mut() = token;
        }
        seen
    }
}
