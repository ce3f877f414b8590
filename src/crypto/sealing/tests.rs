use proptest::prelude::*;

use super::*;

const SECRET: &[u8] = b"Application Name-8k8Q7DmBgo";

fn application(id: &str) -> ApplicationId {
    ApplicationId::new(id)
}

fn place<'a>(application: &'a ApplicationId, row: &'a [&'a str]) -> Place<'a> {
    Place { environment: Environment::Sod, application, row, column: "tenants.system_user_token", schema_version: 1 }
}

fn ring() -> KeyRing {
    KeyRing::new(SealingKey::random().unwrap(), Vec::new())
}

#[test]
fn what_is_sealed_opens_at_its_place_and_looks_like_nothing() {
    let (ring, application) = (ring(), application("app"));
    let place = place(&application, &["cust12345"]);
    let record = ring.seal(SECRET, &place).unwrap();
    assert_eq!(*ring.open(&record, &place).unwrap(), SECRET);
    assert_eq!(record.len(), HEAD_LENGTH + SECRET.len() + 16);
    assert!(!record.windows(4).any(|piece| SECRET.windows(4).any(|secret| piece == secret)));
    assert_ne!(ring.seal(SECRET, &place).unwrap(), record);
    assert_eq!(sealed_with(&record), Some(ring.primary()));
    assert!(record.starts_with(&record_prefix(ring.primary())));
    let empty = ring.seal(b"", &place).unwrap();
    assert_eq!(*ring.open(&empty, &place).unwrap(), b"");
}

#[test]
fn no_bit_can_be_flipped_and_no_byte_left_out() {
    let (ring, application) = (ring(), application("app"));
    let place = place(&application, &["cust12345"]);
    let record = ring.seal(SECRET, &place).unwrap();
    for bit in 0..record.len() * 8 {
        let mut changed = record.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(ring.open(&changed, &place).is_err(), "bit {bit}");
    }
    for length in 0..record.len() {
        assert!(ring.open(&record[..length], &place).is_err(), "{length} bytes");
    }
    let longer = [record.as_slice(), &[0]].concat();
    assert_eq!(ring.open(&longer, &place), Err(OpenError::Forged));
}

#[test]
fn a_record_opens_at_no_other_place() {
    let (ring, here, there) = (ring(), application("app"), application("other"));
    let home = place(&here, &["cust12345", "admin@example.com"]);
    let record = ring.seal(SECRET, &home).unwrap();
    let elsewhere = [
        Place { environment: Environment::Online, ..home },
        Place { application: &there, ..home },
        Place { row: &["cust12346", "admin@example.com"], ..home },
        Place { row: &["cust12345", "user@example.com"], ..home },
        Place { row: &["cust12345admin@example.com"], ..home },
        Place { row: &["cust12345a", "dmin@example.com"], ..home },
        Place { row: &["cust12345"], ..home },
        Place { row: &[], ..home },
        Place { column: "grants.refresh_token", ..home },
        Place { schema_version: 2, ..home },
    ];
    for place in elsewhere {
        assert_eq!(ring.open(&record, &place), Err(OpenError::Forged), "{place:?}");
    }
    assert!(ring.open(&record, &home).is_ok());
}

#[test]
fn an_old_key_opens_and_does_not_seal_and_an_absent_one_is_named() {
    let (old, new) = (SealingKey::random().unwrap(), SealingKey::random().unwrap());
    let application = application("app");
    let place = place(&application, &["cust12345"]);
    let record = KeyRing::new(old.clone(), vec![]).seal(SECRET, &place).unwrap();
    let both = KeyRing::new(new.clone(), vec![old.clone()]);
    assert_eq!(*both.open(&record, &place).unwrap(), SECRET);
    assert_eq!(sealed_with(&both.seal(SECRET, &place).unwrap()), Some(new.id()));
    assert_eq!(both.ids().collect::<Vec<_>>(), [new.id(), old.id()]);
    let without = KeyRing::new(new, vec![]);
    assert_eq!(without.open(&record, &place), Err(OpenError::KeyAbsent(old.id())));
}

/// What an earlier version sealed has to open with every later one. Made by Python's `cryptography`, so that it shows the
/// documented layout and not only that this code agrees with itself.
#[test]
fn a_record_of_version_1_opens() {
    let key = SealingKey::read(b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
    assert_eq!(key.id().to_string(), "bcc72126");
    let record = concat!(
        "01bcc72126404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a",
        "6b6dd3b91df91a71a26bd358c0c5e87c7b8454ac67a29db97bdb6dab3f0046baa075c07ff54491a95227611a",
    );
    let record: Vec<u8> =
        (0..record.len()).step_by(2).map(|at| u8::from_str_radix(&record[at..at + 2], 16).unwrap()).collect();
    let application = application("0123456789abcdef0123456789abcdef");
    let place = place(&application, &["cust12345"]);
    assert_eq!(*KeyRing::new(key, vec![]).open(&record, &place).unwrap(), SECRET);
}

#[test]
fn key_files_are_read_with_white_space_around_and_nothing_else() {
    let key = SealingKey::random().unwrap();
    let text = key.to_text();
    for file in [text.to_string(), format!("{}\n", *text), format!("  {}\r\n", *text)] {
        assert_eq!(SealingKey::read(file.as_bytes()).unwrap().id(), key.id());
    }
    let short = &text[..40];
    let spaced = format!("{} {}", &text[..20], &text[20..]);
    let twice = format!("{}{}", *text, *text);
    for wrong in ["", "secret", short, &spaced, &twice, &text.replace('=', ""), &"é".repeat(22)] {
        assert_eq!(SealingKey::read(wrong.as_bytes()).unwrap_err(), SealingKeyError::Malformed, "{wrong}");
    }
    let zeros = STANDARD_ZEROS.as_bytes();
    assert_eq!(SealingKey::read(zeros).unwrap_err(), SealingKeyError::NotRandom);
}

const STANDARD_ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[test]
fn debug_shows_ids_only() {
    let key = SealingKey::random().unwrap();
    let shown = format!("{key:?} {:?}", KeyRing::new(key.clone(), vec![key.clone()]));
    assert!(shown.contains(&key.id().to_string()) && !shown.contains(&key.to_text()[..12]));
}

proptest! {
    #[test]
    fn hostile_records_are_refused_without_a_panic(mut record in proptest::collection::vec(any::<u8>(), 0..200), version in 0..3_u8) {
        if let Some(first) = record.first_mut() {
            *first = version;
        }
        let application = application("app");
        prop_assert!(ring().open(&record, &place(&application, &["cust1"])).is_err());
    }
}
