//! Seals and keys: what they say, how they are stored, how large they are.

use std::collections::BTreeMap;

use bson::doc;

use super::*;

fn numbers(of: &[(&str, i64)]) -> BTreeMap<String, i64> {
    of.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
}

#[test]
fn a_seal_continues_the_one_before() {
    let signer = signer("a");
    let first = sealed(None, &stored(0..4), &signer);
    assert_eq!((first.number, first.first_seq, first.previous), (1, 1, Hash::ZERO));
    assert_eq!(first.counts, numbers(&[("letters", 2), ("plain", 2)]));
    assert_eq!(first.totals, first.counts);
    assert_eq!(first.leaves[3].hash, leaf_of(&stored(3..4)[0]));

    let empty = sealed(Some(&first), &[], &signer);
    assert_eq!((empty.number, empty.first_seq, empty.previous), (2, 5, first.header.hash()));
    assert_eq!((empty.counts.len(), &empty.totals), (0, &first.totals));
    assert_eq!(empty.root.to_hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

    let third = sealed(Some(&empty), &stored(4..5), &signer);
    assert_eq!((third.number, third.first_seq, third.previous), (3, 5, empty.header.hash()));
    assert_eq!(third.counts, numbers(&[("plain", 1)]));
    assert_eq!(third.totals, numbers(&[("letters", 2), ("plain", 3)]));
}

#[test]
fn a_stored_seal_reads_as_it_was_with_its_leaves_or_without() {
    let seal = sealed(None, &stored(0..5), &signer("a"));
    let document = bson::serialize_to_document(&seal).expect("BSON");
    assert_eq!(bson::deserialize_from_document::<Seal>(document.clone()).expect("a seal"), seal);
    let bytes = bson::serialize_to_vec(&seal).expect("BSON");
    assert_eq!(bson::deserialize_from_slice::<Seal>(&bytes).expect("a seal"), seal);
    assert_eq!(bson::deserialize_from_slice::<SealHeader>(&bytes).expect("a header"), seal.header);
    let text = serde_json::to_string(&ExtendedJson(&raw(&document))).expect("JSON");
    let exported = from_json(&text).expect("the same document");
    assert_eq!(bson::deserialize_from_slice::<Seal>(exported.as_bytes()).expect("a seal"), seal);

    let mut header = document.clone();
    header.remove("leaves");
    assert_eq!(bson::deserialize_from_slice::<SealHeader>(raw(&header).as_bytes()).expect("a header"), seal.header);
    assert_eq!(document.get_i64("_id").expect("a number"), 1);
    assert_eq!(document.get_str("root").expect("hex"), seal.root.to_hex());

    let json = serde_json::to_value(&seal.header).expect("JSON");
    assert_eq!((&json["number"], &json["sealedAt"]), (&1.into(), &"2026-01-01T00:00:00.000Z".into()));
    assert_eq!(json["root"], seal.root.to_hex());
    assert_eq!(serde_json::from_value::<SealHeader>(json).expect("a header"), seal.header);
}

#[test]
fn a_seal_whose_columns_differ_or_whose_hashes_are_short_is_not_read() {
    let document = bson::serialize_to_document(&sealed(None, &stored(0..5), &signer("a"))).expect("BSON");
    let reads = |document: &Document| bson::deserialize_from_document::<Seal>(document.clone()).is_ok();
    assert!(reads(&document));
    let mut beside = document.clone();
    beside.insert("span", doc! { "oldest": 1_i64 });
    assert!(reads(&beside), "what is not signed may stand beside it");
    let mut fewer = document.clone();
    fewer.get_document_mut("leaves").expect("leaves").get_array_mut("ids").expect("ids").pop();
    assert!(!reads(&fewer));
    let mut short = document;
    short.insert("root", "00".repeat(31));
    assert!(!reads(&short));
}

#[test]
fn the_header_is_hashed_as_it_is_published_but_for_its_signature() {
    let first = sealed(None, &stored(0..4), &signer("a"));
    let mut header = sealed(Some(&first), &stored(4..9), &signer("a")).header;
    let published = serde_json::to_string(&header).expect("JSON");
    assert_eq!(
        published,
        format!("{},\"signature\":\"{}\"}}", header.unsigned_json().trim_end_matches('}'), header.signature)
    );
    // A text of whoever forges one ends nothing early.
    header.key_id = ",\"signature\":\"00".into();
    assert!(header.unsigned_json().ends_with(r#""keyId":",\"signature\":\"00"}"#), "{}", header.unsigned_json());
}

#[test]
fn twenty_thousand_leaves_take_less_than_two_megabytes() {
    let id = "res_0198f0c2b1e07c3e8a41b5d0f3a2c4e6";
    let leaf = Leaf { code: 2, id: id.into(), hash: Bytes([7; 32]) };
    let seal = Seal { leaves: vec![leaf; 20_000], ..sealed(None, &[], &signer("a")) };
    let size = bson::serialize_to_vec(&seal).expect("BSON").len();
    assert!(size < 2_000_000, "{size}");
}

#[test]
fn a_signing_key_is_64_hex_digits_and_is_not_printed() {
    for wrong in ["", "ab", &"g".repeat(64), &"a".repeat(62), &"a".repeat(66)] {
        let key = SigningKey::new(&SecretString::from(wrong.to_owned()));
        assert_eq!(key.map(drop), Err("must be 64 hex digits".into()));
    }
    let printed = format!("{:?}", signer("a"));
    assert!(printed.contains(&signer("a").public().id()) && !printed.contains("aaaa") && !printed.contains("170"));
}

/// RFC 8032, 7.1, tests 1 and 2.
#[test]
fn signatures_are_those_of_rfc_8032() {
    let vectors = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            &b""[..],
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b\
             d25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            b"\x72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c\
             387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ];
    for (seed, public, message, signature) in vectors {
        let key = SigningKey::new(&SecretString::from(seed)).expect("a key");
        assert_eq!(hex::encode(key.public().to_bytes()), public);
        assert_eq!(key.sign(message).to_hex(), signature);
        let keys = PublicKeys::from_iter([key.public()]);
        assert_eq!(keys.verify(&key.public().id(), message, &key.sign(message)), Ok(()));
        assert_eq!(keys.verify(&key.public().id(), b"other", &key.sign(message)), Err(NotSigned::Wrong));
        assert_eq!(keys.verify("0000000000000000", message, &key.sign(message)), Err(NotSigned::UnknownKey));
    }
}

#[test]
fn public_keys_are_published_as_json() {
    let both = keys(&["a", "b"]);
    let json = serde_json::to_value(&both).expect("JSON");
    assert_eq!(json["keys"][0]["algorithm"], "Ed25519");
    assert_eq!(json["keys"][0]["publicKey"].as_str().map(str::len), Some(43));
    assert_eq!(serde_json::from_value::<PublicKeys>(json.clone()).expect("keys"), both);

    let id = json["keys"][0]["keyId"].as_str().expect("an id").to_owned();
    let refused = |field: &str, value: &str| {
        let mut wrong = json.clone();
        wrong["keys"][0][field] = value.into();
        serde_json::from_value::<PublicKeys>(wrong).expect_err("refused").to_string()
    };
    assert_eq!(refused("algorithm", "RSA"), format!("key {id}: only Ed25519 is known"));
    assert_eq!(refused("keyId", "0000000000000000"), "key 0000000000000000: this is the id of another key");
    for wrong in ["", "AAAA", "!", &"A".repeat(43)] {
        let error = refused("publicKey", wrong);
        assert_eq!(error, format!("key {id}: {wrong:?} is no public key of 32 bytes in base64url"));
    }
}

#[test]
fn a_key_of_small_order_is_none() {
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(PublicKey::from_bytes(&identity), None);
    assert_eq!(PublicKey::from_bytes(&[0; 32]), None);
}
