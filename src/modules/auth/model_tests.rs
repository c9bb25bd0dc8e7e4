use super::*;

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
