use bson::{Document, doc};

use super::*;
use crate::platform::{
    identity::{Actor, Role},
    ids::new_id,
};

const HOUR: Duration = Duration::from_secs(3600);

fn at(ms: i64) -> DateTime {
    DateTime::from_millis(ms)
}

fn keys(secret: &str, previous: Option<&str>) -> LinkKeys {
    LinkKeys::derive(&SecretString::from(secret), previous.map(SecretString::from).as_ref())
}

fn user() -> User {
    User { id: new_id("usr"), ..User::of_a_test(Role::Merchant) }
}

fn asked(user: &User, data: Document) -> Event {
    Event {
        id: new_id("evt"),
        kind: "PasswordResetRequested".into(),
        subject_id: user.id.clone(),
        user_id: user.id.clone(),
        seq: 1,
        actor: Actor::system("test"),
        data,
        at: at(1_000),
    }
}

fn token(path: &str) -> SecretString {
    SecretString::from(path.split_once("?token=").expect("a link").1)
}

fn links(keys: &LinkKeys, user: &User) -> Vec<SecretString> {
    let reset = keys.password_reset(user, &asked(user, doc! { "accessVersion": user.access_version }), at(1_000));
    let verification = keys.email_verification(user, at(1_000), at(1_000));
    let unsubscribe = MailTopic::CHOSEN.map(|topic| keys.unsubscribe(user, topic));
    let paths = [reset, verification].into_iter().chain(unsubscribe);
    paths.map(|path| token(&path.expect("a link"))).collect()
}

#[test]
fn a_link_says_the_same_every_time_and_is_good_for_one_purpose() {
    let (ours, user) = (keys("one", None), user());
    let all = links(&ours, &user);
    let again = links(&ours, &user);
    assert!(all.iter().zip(&again).all(|(one, other)| one.expose_secret() == other.expose_secret()));
    let read: Vec<Link> = all.iter().map(|token| ours.read(token).expect("ours")).collect();
    let purposes: Vec<LinkPurpose> = read.iter().map(Link::purpose).collect();
    let topics = MailTopic::CHOSEN.map(LinkPurpose::Unsubscribe);
    assert_eq!(purposes[..2], [LinkPurpose::PasswordReset, LinkPurpose::EmailVerification]);
    assert_eq!(purposes[2..], topics);
    assert!(read.iter().all(|link| link.user_id == user.id && link.fits(&user)));
    let ends = [HOUR, 7 * 24 * HOUR].map(|ttl| after(at(1_000), ttl).timestamp_millis());
    for (link, end) in read.iter().zip(ends) {
        assert!(!link.is_over(at(end - 1)) && link.is_over(at(end)));
    }
    assert!(read[2..].iter().all(|link| !link.is_over(at(i64::MAX - 1))), "without end");
    assert!(ours.unsubscribe(&user, MailTopic::Account).is_none());
}

#[test]
fn a_link_is_spent_by_what_it_is_for() {
    let (ours, then) = (keys("one", None), user());
    let read: Vec<Link> = links(&ours, &then).iter().map(|token| ours.read(token).expect("ours")).collect();
    let fits = |user: &User| read[..3].iter().map(|link| link.fits(user)).collect::<Vec<_>>();
    let renamed = User { name: "B".into(), email_verified_at: Some(at(0)), ..then.clone() };
    let changed = User { access_version: 5, ..then.clone() };
    let moved = User { email: "b@example.com".into(), ..then.clone() };
    assert_eq!(fits(&renamed), [true, true, true]);
    assert_eq!(fits(&changed), [false, true, true]);
    assert_eq!(fits(&moved), [false, false, true]);
    assert!(!read[0].fits(&User { id: new_id("usr"), ..then.clone() }), "somebody else's");
    // A letter that is late holds no link that was not asked for, or is over.
    let late = asked(&then, doc! { "accessVersion": then.access_version });
    assert!(ours.password_reset(&then, &late, after(late.at, HOUR)).is_none());
    assert!(ours.email_verification(&then, late.at, after(late.at, 7 * 24 * HOUR)).is_none());
    for data in [doc! { "accessVersion": 4_i64 }, doc! {}] {
        assert!(ours.password_reset(&changed, &asked(&changed, data), at(1_000)).is_none());
    }
}

#[test]
fn what_we_did_not_make_says_nothing() {
    let (ours, user) = (keys("first", None), user());
    for link in links(&ours, &user) {
        assert!(keys("second", Some("first")).read(&link).is_some_and(|link| link.fits(&user)), "of the key before");
        assert!(keys("second", None).read(&link).is_none());
        let bytes = URL_SAFE_NO_PAD.decode(link.expose_secret()).expect("base64");
        for bit in (0..bytes.len() * 8).step_by(5) {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(ours.read(&SecretString::from(URL_SAFE_NO_PAD.encode(changed))).is_none(), "bit {bit}");
        }
        let cut = &link.expose_secret()[..link.expose_secret().len() - 4];
        for forged in ["", "x", cut, &format!("{}AAAA", link.expose_secret())] {
            assert!(ours.read(&SecretString::from(forged)).is_none(), "{forged}");
        }
    }
    let nobody = User { id: "usr_1".into(), ..user };
    assert!(ours.email_verification(&nobody, at(0), at(0)).is_none(), "no id of ours");
    assert!(!format!("{ours:?}").contains("first"));
}
