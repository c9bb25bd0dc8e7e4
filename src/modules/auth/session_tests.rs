use super::*;
use crate::platform::{identity::Role, ids::new_id};

const NOW_MS: i64 = 1_800_000_000_000;

fn at(seconds_from_now: i64) -> DateTime {
    DateTime::from_millis(NOW_MS + seconds_from_now * 1000)
}

fn keys(secret: &str, previous: Option<&str>) -> RefreshKeys {
    RefreshKeys::derive(&SecretString::from(secret), previous.map(SecretString::from).as_ref())
}

/// Signed in an hour ago; its fifth token, made a second ago, is live.
fn session(keys: &RefreshKeys) -> Session {
    Session {
        id: new_id("ses"),
        user_id: "usr_1".into(),
        access_version: 1,
        generation: 5,
        key_id: keys.current_id().into(),
        rotated_at: at(-1),
        ended_at: None,
        created_at: at(-3600),
        expires_at: at(3600),
        seen_at: None,
    }
}

fn presented(session: &Session, generation: u32) -> PresentedToken {
    PresentedToken { session_id: session.id.clone(), generation, key_id: session.key_id.clone() }
}

#[test]
fn every_token_of_a_session_has_its_verdict() {
    let live = session(&keys("one", None));
    let rotated = |seconds_ago: i64| Session { rotated_at: at(-seconds_ago), ..live.clone() };
    let ended = Session { ended_at: Some(at(-1)), ..live.clone() };
    let expired = Session { expires_at: at(0), ..live.clone() };
    // One row a session; one column a token: the first, two before the live one, the one before, the live one, one to come.
    let table = [
        (
            Some(&live),
            [
                RefreshTokenState::Reused,
                RefreshTokenState::Reused,
                RefreshTokenState::Repeat,
                RefreshTokenState::Fresh,
                RefreshTokenState::Unknown,
            ],
        ),
        (
            Some(&rotated(30)),
            [
                RefreshTokenState::Reused,
                RefreshTokenState::Reused,
                RefreshTokenState::Repeat,
                RefreshTokenState::Fresh,
                RefreshTokenState::Unknown,
            ],
        ),
        (
            Some(&rotated(31)),
            [
                RefreshTokenState::Reused,
                RefreshTokenState::Reused,
                RefreshTokenState::Reused,
                RefreshTokenState::Fresh,
                RefreshTokenState::Unknown,
            ],
        ),
        // Another process's clock may be ahead of ours.
        (
            Some(&rotated(-2)),
            [
                RefreshTokenState::Reused,
                RefreshTokenState::Reused,
                RefreshTokenState::Repeat,
                RefreshTokenState::Fresh,
                RefreshTokenState::Unknown,
            ],
        ),
        (Some(&ended), [RefreshTokenState::Reused; 5]),
        (Some(&expired), [RefreshTokenState::Expired; 5]),
        (None, [RefreshTokenState::Unknown; 5]),
    ];
    for (session, expected) in table {
        for (generation, expected) in [1, 3, 4, 5, 6].into_iter().zip(expected) {
            let verdict = judge(session, &presented(&live, generation), true, at(0));
            assert_eq!(verdict, expected, "token {generation} of {session:?}");
        }
    }
}

#[test]
fn a_live_token_under_a_key_that_we_lack_is_left_alone() {
    let live = session(&keys("one", None));
    assert_eq!(judge(Some(&live), &presented(&live, 4), false, at(0)), RefreshTokenState::Foreign);
    // What ends a session ends it whoever made the live token.
    assert_eq!(judge(Some(&live), &presented(&live, 3), false, at(0)), RefreshTokenState::Reused);
    // Nobody was given the fifth token under another key.
    let other = PresentedToken { key_id: "other".into(), ..presented(&live, 5) };
    assert_eq!(judge(Some(&live), &other, true, at(0)), RefreshTokenState::Unknown);
}

#[test]
fn a_token_names_its_session_and_nobody_else_can_make_one() {
    let ours = keys("one", None);
    let live = session(&ours);
    let token = ours.token(&live).expect("its key is here");
    assert_eq!(ours.read(&token), Some(presented(&live, 5)));
    assert_eq!(
        ours.token(&live).expect("its key is here").expose_secret(),
        token.expose_secret(),
        "the same every time"
    );
    let other = Session { id: new_id("ses"), ..live.clone() };
    let next = live.rotated(ours.current_id(), at(0));
    for another in [&other, &next] {
        assert_ne!(ours.token(another).expect("its key is here").expose_secret(), token.expose_secret());
    }
    assert!(keys("two", None).read(&token).is_none());
    for changed in 0..token.expose_secret().len() {
        let mut text = token.expose_secret().as_bytes().to_vec();
        text[changed] = if text[changed] == b'A' { b'B' } else { b'A' };
        let text = SecretString::from(String::from_utf8(text).expect("ASCII"));
        assert!(ours.read(&text).is_none(), "character {changed}");
    }
    for bad in ["", "x", "not a token", &"A".repeat(70), &"A".repeat(512), &token.expose_secret()[1..]] {
        assert!(ours.read(&SecretString::from(bad)).is_none(), "{bad}");
    }
}

#[test]
fn a_session_outlives_a_change_of_the_secret() {
    let (old, both, new) = (keys("old", None), keys("new", Some("old")), keys("new", None));
    let live = session(&old);
    let token = old.token(&live).expect("its key is here");
    assert_eq!(both.read(&token), old.read(&token));
    assert_eq!(both.token(&live).expect("the key before is here").expose_secret(), token.expose_secret());
    assert!(!new.has(&live.key_id) && new.token(&live).is_none() && new.read(&token).is_none());
    let next = live.rotated(both.current_id(), at(0));
    assert!(old.token(&next).is_none() && new.token(&next).is_some());
}

#[test]
fn refreshing_does_not_lengthen_a_session() {
    let user = User { access_version: 7, ..User::of_a_test(Role::Merchant) };
    let first = Session::new(new_id("ses"), &user, "k", at(0));
    assert_eq!((first.generation, first.access_version), (1, 7));
    let second = first.rotated("l", at(60));
    assert_eq!((second.generation, &*second.key_id, second.rotated_at), (2, "l", at(60)));
    assert_eq!((second.expires_at, second.created_at), (after(at(0), SESSION_TTL), at(0)));
}

#[test]
fn keys_are_not_shown() {
    let shown = format!("{:?}", keys("new", Some("old")));
    let key = hex::encode(derive_key(&SecretString::from("new"), "waybill refresh tokens v2"));
    assert!(!shown.contains(&key) && shown.contains("MacKey { .. }"), "{shown}");
}
