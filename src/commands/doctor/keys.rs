//! Keys: whether they fit what is stored.

use super::findings::DoctorFindings;
use crate::{
    app::App,
    modules::audit::seals::{SealStore, SecretError, find_commitment_key},
};

pub(super) async fn look(app: &App, findings: &mut DoctorFindings) {
    match find_commitment_key(&app.db, app.sealing()).await {
        Ok(Some(_)) => findings.ok("keys.sealing", "SEALING_KEY opens what is sealed."),
        Ok(None) => findings.ok("keys.sealing", "Nothing is sealed yet."),
        Err(SecretError::Database(error)) => findings.unknown("keys.sealing", error.to_string(), "Try again."),
        Err(error) => findings.problem(
            "keys.sealing",
            format!("SEALING_KEY is not the one of this database: {error}"),
            "Give the key that this database was used with, or that of before as SEALING_KEY_PREVIOUS. Without it identity numbers, \
             documents and credentials are lost.",
        ),
    }
    if app.config.sealing_key_previous.is_some() {
        findings.warn(
            "keys.sealing_previous",
            "SEALING_KEY_PREVIOUS is still set.",
            "Run `waybill keys rotate` until it has nothing left to do, then take it away.",
        );
    }
    if app.config.jwt_secret_previous.is_some() {
        findings.warn(
            "keys.jwt_previous",
            "JWT_SECRET_PREVIOUS is still set.",
            "Take it away once links in letters and sessions of before are over, a week after the change.",
        );
    }
    match SealStore::new(app.db.clone()).last().await {
        Ok(None) => findings.ok("keys.audit", "There is no seal yet."),
        Ok(Some(seal)) if app.audit_keys().public.get(&seal.key_id).is_some() => {
            findings.ok("keys.audit", format!("Seal {} is by a key that is known.", seal.number));
        }
        Ok(Some(seal)) => findings.problem(
            "keys.audit",
            format!(
                "Seal {} was signed by the key {}, which nobody here knows: workers seal nothing.",
                seal.number, seal.key_id
            ),
            "Give that key's public half in AUDIT_PUBLIC_KEYS, or the AUDIT_SIGNING_KEY of before.",
        ),
        Err(error) => findings.unknown("keys.audit", error.to_string(), "Try again."),
    }
}
