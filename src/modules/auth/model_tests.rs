use super::*;

const NOW_MS: i64 = 1_800_000_000_000;

fn at(seconds_from_now: i64) -> DateTime {
    DateTime::from_millis(NOW_MS + seconds_from_now * 1000)
}

/// The successor of every token that is used, unless a test says otherwise.
const NEXT: &str = "next";

fn session(used: Option<i64>, revoked: Option<i64>) -> Session {
    Session {
        id: "hash".into(),
        family_id: "ses_1".into(),
        user_id: "usr_1".into(),
        password_version: 1,
        created_at: at(-3600),
        used_at: used.map(at),
        successor_id: used.map(|_| NEXT.into()),
        revoked_at: revoked.map(at),
        expires_at: at(3600),
    }
}

fn name_of(verdict: Verdict<'_>) -> &'static str {
    match verdict {
        Verdict::Unknown => "unknown",
        Verdict::Expired => "expired",
        Verdict::Reused(_) => "reused",
        Verdict::Fresh => "fresh",
        Verdict::HalfDone { .. } => "half done",
        Verdict::Repeat(_) => "repeat",
        Verdict::Foreign => "foreign",
    }
}

/// The verdict of a process that can derive the successors with these ids.
fn judged<'a>(token: &'a Session, derivable: &[&str], successor: Option<&'a Session>) -> Verdict<'a> {
    judge(Some(token), &derivable.iter().map(ToString::to_string).collect::<Vec<_>>(), successor, at(0))
}

#[test]
fn every_state_of_a_token_and_its_successor_has_its_verdict() {
    let (live, used, revoked) = (session(None, None), session(Some(-1), None), session(None, Some(-1)));
    let used_and_revoked = session(Some(-1), Some(-1));
    let successors = [None, Some(&live), Some(&used), Some(&revoked), Some(&used_and_revoked)];
    // One row a token; one column a successor: none, live, used, revoked, used and revoked.
    let same = |verdict: &'static str| [verdict; 5];
    let within = ["half done", "repeat", "reused", "reused", "reused"];
    let table: [(Option<Session>, [&str; 5]); 9] = [
        (None, same("unknown")),
        (Some(session(None, None)), same("fresh")),
        (Some(session(None, Some(-1))), same("reused")),
        (Some(session(Some(-1), Some(-1))), same("reused")),
        (Some(session(Some(0), None)), within),
        (Some(session(Some(-30), None)), within),
        (Some(session(Some(-31), None)), same("reused")),
        (Some(session(Some(-31), Some(-31))), same("reused")),
        // Another process's clock may be ahead of ours.
        (Some(session(Some(2), None)), within),
    ];
    for (token, expected) in &table {
        for (successor, expected) in successors.iter().zip(expected) {
            // Under which key the successor was chosen makes no difference as long as we have it.
            for derivable in [vec![NEXT.to_owned()], vec!["other".into(), NEXT.into()]] {
                let verdict = judge(token.as_ref(), &derivable, *successor, at(0));
                assert_eq!(name_of(verdict), *expected, "{token:?} with successor {successor:?}");
            }
        }
    }
}

#[test]
fn an_expired_token_is_expired_whatever_else_it_is() {
    for (used, revoked) in [(None, None), (Some(-1), None), (None, Some(-1)), (Some(-1), Some(-1))] {
        let mut token = session(used, revoked);
        token.expires_at = at(0);
        assert_eq!(judged(&token, &[NEXT], None), Verdict::Expired);
        assert_eq!(judged(&token, &[NEXT], Some(&session(None, None))), Verdict::Expired);
        assert_eq!(judged(&token, &["other"], None), Verdict::Expired);
        assert_ne!(judge(Some(&token), &[], None, at(-1)), Verdict::Expired);
    }
}

#[test]
fn a_successor_chosen_under_a_key_that_we_lack_is_left_alone() {
    let live = Session { id: NEXT.into(), ..session(None, None) };
    let token = session(Some(-1), None);
    for derivable in [&[][..], &["other"], &["other", "another"]] {
        assert_eq!(judged(&token, derivable, None), Verdict::Foreign);
        assert_eq!(judged(&token, derivable, Some(&live)), Verdict::Foreign);
        // What ends a family ends it whoever chose the successor.
        let used = session(Some(-1), None);
        assert_eq!(judged(&token, derivable, Some(&used)), Verdict::Reused(&token));
        assert_eq!(
            judged(&session(Some(-31), None), derivable, Some(&live)),
            Verdict::Reused(&session(Some(-31), None))
        );
        assert_eq!(judged(&session(None, None), derivable, None), Verdict::Fresh);
    }
    // Marked by a version that didn't say what it chose.
    let silent = Session { successor_id: None, ..token };
    assert_eq!(judged(&silent, &[NEXT], None), Verdict::Foreign);
}

#[test]
fn a_verdict_carries_the_document_that_matters() {
    let token = session(Some(-1), None);
    let next = Session { id: NEXT.into(), ..session(None, None) };
    let half_done = Verdict::HalfDone { token: &token, successor_id: NEXT };
    assert_eq!(judged(&token, &[NEXT], Some(&next)), Verdict::Repeat(&next));
    assert_eq!(judged(&token, &["other", NEXT], None), half_done);
    assert_eq!(judged(&token, &[NEXT], Some(&token)), Verdict::Reused(&token));
}

#[test]
fn a_successor_stays_in_the_family_and_lives_from_its_own_birth() {
    let token = session(Some(0), None);
    let next = token.successor("next".into(), at(0));
    assert_eq!((next.family_id, next.user_id), (token.family_id, token.user_id));
    assert_eq!((next.used_at, next.successor_id, next.revoked_at, next.password_version), (None, None, None, 1));
    assert_eq!(next.expires_at, after(at(0), REFRESH_TTL));
}

#[test]
fn a_successor_is_the_same_every_time_and_another_for_every_token_and_key() {
    let (one, two) = (SecretString::from("one"), SecretString::from("two"));
    let derive = |key: u8, token| successor_token(&[key; 32], token).expose_secret().to_owned();
    assert_eq!(derive(1, &one), derive(1, &one));
    assert_ne!(derive(1, &one), derive(1, &two));
    assert_ne!(derive(1, &one), derive(2, &one));
    // Computed with Python's hmac: a change here signs everybody out who refreshes during a deployment.
    assert_eq!(derive(1, &one), "qA-Tz3X8xjAmyWorv4oKKiOwpcXvOB3KT9tHz9iijh0");
}

#[test]
fn a_changed_secret_can_still_derive_what_the_one_before_chose() {
    let (old, new, token) = (SecretString::from("old"), SecretString::from("new"), SecretString::from("token"));
    let successors = |keys: RefreshKeys| -> Vec<_> {
        keys.successors(&token).iter().map(|next| next.expose_secret().to_owned()).collect()
    };
    let before = successors(RefreshKeys::derive(&old, None));
    let after = successors(RefreshKeys::derive(&new, Some(&old)));
    assert_eq!((before.len(), after.len()), (1, 2));
    assert_eq!(after[1], before[0]);
    assert_eq!(after[..1], successors(RefreshKeys::derive(&new, None)));
}

#[test]
fn keys_are_not_shown() {
    let (old, new) = (SecretString::from("old"), SecretString::from("new"));
    let shown = format!("{:?}", RefreshKeys::derive(&new, Some(&old)));
    let key = "SecretBox<[u8; 32]>([REDACTED])";
    assert_eq!(shown, format!("RefreshKeys {{ current: {key}, previous: Some({key}) }}"));
}

#[test]
fn tokens_have_256_bits_and_are_stored_as_their_hash() {
    let (one, two) = (new_refresh_token(), new_refresh_token());
    assert_ne!(one.expose_secret(), two.expose_secret());
    assert_eq!(URL_SAFE_NO_PAD.decode(one.expose_secret()).map(|bytes| bytes.len()), Ok(32));
    assert_eq!(
        token_id(&SecretString::from("abc")),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn fields_are_held_to_their_limits() {
    let email = |text: &str| check_email(text).is_ok();
    assert!(email("a@example.com"));
    assert!(!email("A@example.com") && !email("a@exämple.com"), "not in its normal form");
    assert!(!email("a@") && !email("example.com") && !email("") && !email("a b@example.com"));
    assert!(!email(&format!("a@{}.com", "b.".repeat(130))));

    let name = |text: &str| check_name(text).is_ok();
    assert!(name("Asha Rao") && name("अ") && name(&"ä".repeat(120)));
    assert!(!name("") && !name(&"a".repeat(121)) && !name("a\nb") && !name("a\u{7f}") && !name("Asha 9999 4105 7058"));

    let password = |text: &str| check_new_password(&SecretString::from(text)).is_ok();
    assert!(password("0123456789") && password(&"🔑".repeat(128)));
    assert!(!password("012345678") && !password(&"a".repeat(129)) && !password(""));
    assert!(!password("0123456789\0"));

    let presented = |text: &str| check_presented_password(&SecretString::from(text)).is_ok();
    assert!(presented("x") && presented(&"a".repeat(512)));
    assert!(!presented("") && !presented(&"a".repeat(513)));
}

#[test]
fn everything_wrong_with_a_new_user_is_named() {
    assert_eq!(check_new_user("a@example.com", &SecretString::from("long enough"), "Asha"), []);
    let wrong = check_new_user("nobody", &SecretString::from("short"), "");
    assert_eq!(wrong.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), ["email", "password", "name"]);
    assert!(wrong.iter().all(|error| !error.message.is_empty()));
}
