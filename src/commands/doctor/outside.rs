//! Others' servers: whether they can be reached from here. Nothing is sent to them but for signing in to the mail server.

use super::findings::DoctorFindings;
use crate::{
    app::App,
    modules::providers::{
        BASE_URL,
        registry::{PAYMENT_GATEWAY, VERIFIER},
    },
    platform::exchange::{Smtp, knock},
};

const ADVICE: &str = "Look at the address, names, firewalls and proxies on the way; jobs for it wait meanwhile.";

pub(super) async fn look(app: &App, findings: &mut DoctorFindings) {
    let providers = &app.config.providers;
    let orders = app.providers.all().map(|provider| provider.declaration.name);
    for name in orders.chain([PAYMENT_GATEWAY.name, VERIFIER.name]) {
        let settings = providers.of(name);
        let Some(url) = settings.text(BASE_URL).map(str::to_owned) else { continue };
        match knock(&url).await {
            Ok(took) => findings.ok("providers", format!("{name} can be reached, in {} ms.", took.as_millis())),
            Err(error) => findings.problem("providers", format!("{name} can't be reached: {error}"), ADVICE),
        }
    }
    if let Some(url) = app.config.audit.audit_anchor_url.as_deref().filter(|url| !url.is_empty()) {
        match knock(url).await {
            Ok(_) => findings.ok("anchors", "Where anchors are posted can be reached."),
            Err(error) => findings.problem("anchors", format!("Anchors can't be posted: {error}"), ADVICE),
        }
    }
    mail(app, findings).await;
}

async fn mail(app: &App, findings: &mut DoctorFindings) {
    let Some(mail) = app.config.check().ok().and_then(|secrets| secrets.mail) else {
        return findings.ok(
            "mail",
            "SMTP_URL is not set: no mail is sent, and forgotten passwords can't be reset by their owners.",
        );
    };
    let tried = match Smtp::new(mail.server, mail.sender.domain(), mail.deadline) {
        Ok(smtp) => smtp.try_out().await,
        Err(error) => Err(error),
    };
    match tried {
        Ok(took) => findings.ok("mail", format!("The mail server takes us, in {} ms.", took.as_millis())),
        Err(error) => findings.problem("mail", error, "Look at SMTP_URL: address, tls=required, user and password."),
    }
}
