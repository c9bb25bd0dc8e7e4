//! The example of `docs/audit-proof.md`: what the page says is what is computed.

use std::collections::BTreeMap;

use bson::{Bson, doc};

use super::{super::leaf::leaf_input, *};

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/audit-proof.md"));

/// Every hex of the page by its name there, as it is computed.
fn example() -> BTreeMap<&'static str, Vec<u8>> {
    let (scopes, key) = (Scopes::standard(), commitment_key(&SecretString::from("an example secret")));
    // RFC 8032, 7.1, test 1.
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let signer = SigningKey::new(&SecretString::from(seed)).expect("a key");
    let event = raw(&doc! { "_id": "evt_1", "type": "OrderCreated", "attempts": [1_i32, 2_i64] });
    let audit = raw(&doc! {
        "_id": "aud_1", "actor": { "kind": "user", "address": "192.0.2.1" }, "reason": null, "at": AT,
    });
    let call = |note: Bson| {
        raw(&doc! {
            "_id": "res_1", "httpStatus": 200_i32, "errorMessage": null,
            "body": { "status": true, "data": [{ "note": note }], "more": null },
        })
    };
    let (answer, path) = (call("Left with Asha".into()), "body.data.0.note");
    let record =
        |collection, id, document| Record { scope: scopes.of_collection(collection).expect("known"), id, document };
    let records = [
        record("events", "evt_1", &*event),
        record("audit_events", "aud_1", &*audit),
        record("provider_response_logs", "res_1", &*answer),
    ];
    let seal = Seal::build(None, AT, Leaf::of_all(records, &key), scopes, &signer);
    let header = &seal.header;
    let proof = Proof::of(&seal, 1, scopes).expect("a leaf");
    assert_eq!(
        proof.verify(&audit, &key.salts(&records[1]), scopes, &PublicKeys::from_iter([signer.public()])),
        Ok(())
    );

    assert!(PAGE.contains(&format!("\n    {}\n", header.unsigned_json())), "{}", header.unsigned_json());
    let hashed = |record: &Record<'_>| {
        let Ok(bytes) = leaf_input(record, &key);
        bytes
    };
    let after = call(erase(&records[2], path, &key).expect("a note").into());
    assert_eq!(hashed(&record("provider_response_logs", "res_1", &after)), hashed(&records[2]));
    let salt_of_record = |record| match key.salts(record) {
        Salts::OfRecord(salt) => salt.0.to_vec(),
        Salts::OfFields(fields) => panic!("nothing is erased: {fields:?}"),
    };
    let salt = |record, path| {
        let Ok(salt) = key.salts_of(record)(path);
        salt.0.to_vec()
    };
    // Of the only element: its type, and what follows its name.
    let element = raw(&doc! { "address": "192.0.2.1" }).into_bytes();
    let value = [&element[4..5], &element[6 + "address".len()..element.len() - 1]].concat();
    BTreeMap::from([
        ("leaf 1 input", hashed(&records[0])),
        ("leaf 1", seal.leaves[0].hash.0.to_vec()),
        ("type ‖ value", value),
        ("salt of aud_1", salt_of_record(&records[1])),
        ("salt", salt(&records[1], "actor.address")),
        ("commitment", commitments(&records[1], &key)["actor.address"].0.to_vec()),
        ("leaf 2 input", hashed(&records[1])),
        ("leaf 2", seal.leaves[1].hash.0.to_vec()),
        ("salt of res_1", salt_of_record(&records[2])),
        ("commitment of body.status", commitments(&records[2], &key)["body.status"].0.to_vec()),
        ("commitment of body.data.0.note", commitments(&records[2], &key)[path].0.to_vec()),
        ("leaf 3 input", hashed(&records[2])),
        ("leaf 3", seal.leaves[2].hash.0.to_vec()),
        ("root", header.root.0.to_vec()),
        ("names", header.names.0.to_vec()),
        ("header hash", header.hash().0.to_vec()),
        ("public key", signer.public().to_bytes().to_vec()),
        ("key id", hex::decode(signer.public().id()).expect("hex")),
        ("signature", header.signature.0.to_vec()),
    ])
}

/// Lines `name = hex` of the page's example; a hex goes on in indented lines.
fn on_page() -> BTreeMap<&'static str, String> {
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    let mut name = "";
    let example = PAGE.split("## An example").nth(1).expect("an example");
    for line in example.split("```").skip(1).step_by(2).flat_map(str::lines) {
        if let Some((label, digits)) = line.split_once(" = ") {
            name = label;
            found.insert(label, digits.split(' ').collect());
        } else if let Some(digits) = line.strip_prefix("    ") {
            found.entry(name).or_default().extend(digits.split(' '));
        }
    }
    found
}

#[test]
fn the_page_says_what_is_computed() {
    let computed: BTreeMap<_, _> = example().into_iter().map(|(name, bytes)| (name, hex::encode(bytes))).collect();
    assert_eq!(on_page(), computed);
}

#[test]
fn the_page_names_every_rule() {
    for code in 0..=u8::MAX {
        let Some(scope) = Scopes::standard().of_code(code) else { continue };
        let personal: Vec<_> = scope.personal().iter().map(|path| format!("`{path}`")).collect();
        let line = format!("| {code} | `{}` | {} |", scope.collection(), personal.join(", "));
        assert!(PAGE.contains(&line), "{line}");
    }
}
