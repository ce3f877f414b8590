use proptest::prelude::*;
use rsa::BoxedUint;
use rsa::traits::PrivateKeyParts;

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/keys/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn text(name: &str) -> String {
    String::from_utf8(fixture(name)).unwrap()
}

fn read(file: impl AsRef<[u8]>) -> Result<PrivateKey, PrivateKeyError> {
    PrivateKey::read(file.as_ref(), None)
}

fn refusal(file: impl AsRef<[u8]>) -> PrivateKeyError {
    read(file).expect_err("a key that must be refused was read")
}

fn with_passphrase(name: &str, passphrase: &str) -> Result<PrivateKey, PrivateKeyError> {
    PrivateKey::read(&fixture(name), Some(&SecretString::from(passphrase)))
}

fn utf16(text: &str, encode: fn(u16) -> [u8; 2]) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(encode).collect()
}

#[test]
fn every_format_is_the_same_key() {
    for (bits, files) in [
        (
            1024,
            &[
                ("selfmade1024.rsakeyvalue.xml", KeyFormat::RsaKeyValueXml),
                ("selfmade1024.oneline.rsakeyvalue.xml", KeyFormat::RsaKeyValueXml),
                ("selfmade1024.wrapped-base64.rsakeyvalue.xml", KeyFormat::RsaKeyValueXml),
                ("selfmade1024.pkcs1.pem", KeyFormat::Pkcs1Pem),
                ("selfmade1024.pkcs8.pem", KeyFormat::Pkcs8Pem),
                ("selfmade1024.rsa-xml-converted.pem", KeyFormat::Pkcs1PemNotDer),
            ][..],
        ),
        (
            2048,
            &[
                ("selfmade2048.rsakeyvalue.xml", KeyFormat::RsaKeyValueXml),
                ("selfmade2048.pkcs1.pem", KeyFormat::Pkcs1Pem),
                ("selfmade2048.pkcs8.pem", KeyFormat::Pkcs8Pem),
                ("selfmade2048.pkcs1.der", KeyFormat::Pkcs1Der),
                ("selfmade2048.pkcs8.der", KeyFormat::Pkcs8Der),
                ("selfmade2048.encrypted-pbkdf2.pem", KeyFormat::EncryptedPkcs8Pem),
                ("selfmade2048.encrypted-scrypt.pem", KeyFormat::EncryptedPkcs8Pem),
            ][..],
        ),
    ] {
        let public = text(&format!("selfmade{bits}.public.pem"));
        for (file, format) in files {
            let key = with_passphrase(file, "correct-horse").unwrap_or_else(|error| panic!("{file}: {error}"));
            assert_eq!(key.bits(), bits, "{file}");
            assert_eq!(key.format(), *format, "{file}");
            assert_eq!(key.public_pem(), public, "{file}");
        }
    }
}

#[test]
fn xml_is_read_in_every_layout() {
    let one_line = text("selfmade1024.oneline.rsakeyvalue.xml");
    let pretty = text("selfmade1024.rsakeyvalue.xml");
    let expected = read(&one_line).unwrap().public_key_fingerprint();
    let elements: Vec<&str> = pretty.lines().filter(|line| line.starts_with("  <")).collect();
    let reversed = format!("<RSAKeyValue>{}</RSAKeyValue>", elements.iter().rev().copied().collect::<String>());
    let modulus_only_entity = one_line.replacen("<D>", "<D>&#xD;&#10;", 1);
    for (layout, xml) in [
        ("BOM", format!("\u{feff}{pretty}")),
        ("declaration", format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n{pretty}")),
        ("BOM and declaration", format!("\u{feff}<?xml version='1.0' encoding='utf-16' standalone='yes'?>{one_line}")),
        ("CRLF", pretty.replace('\n', "\r\n")),
        ("tabs", pretty.replace("  ", "\t")),
        ("wrapped, CRLF", text("selfmade1024.wrapped-base64.rsakeyvalue.xml").replace('\n', "\r\n")),
        ("blank lines around", format!("\n\n  {pretty}\n\n")),
        ("any order", reversed),
        ("namespace", one_line.replace("<RSAKeyValue>", "<RSAKeyValue xmlns=\"http://www.w3.org/2000/09/xmldsig#\">")),
        ("prefix", one_line.replace("</", "</ds:").replace('<', "<ds:").replace("<ds:/ds:", "</ds:")),
        ("comment", one_line.replace("<Modulus>", "<!-- mine --><Modulus>")),
        ("CDATA", one_line.replace("<P>", "<P><![CDATA[").replace("</P>", "]]></P>")),
        ("character references", modulus_only_entity),
        ("no padding", one_line.replace('=', "")),
        ("leading zeros", {
            let d = one_line.split_once("<Exponent>").unwrap().1.split_once('<').unwrap().0;
            one_line.replace(d, "AAAAAAEAAQ==")
        }),
        ("an unknown element", one_line.replace("<P>", "<Note>x<!-- --></Note><Empty/><P>")),
        ("a damaged CRT value", one_line.replace("<InverseQ>", "<InverseQ>A")),
        ("no CRT values", {
            let mut rest = one_line.clone();
            for name in ["DP", "DQ", "InverseQ"] {
                let (before, after) = rest.split_once(&format!("<{name}>")).unwrap();
                rest = format!("{before}{}", after.split_once(&format!("</{name}>")).unwrap().1);
            }
            rest
        }),
    ] {
        let key = read(&xml).unwrap_or_else(|error| panic!("{layout}: {error}"));
        assert_eq!(key.public_key_fingerprint(), expected, "{layout}");
        assert_eq!(key.format(), KeyFormat::RsaKeyValueXml);
    }
    for file in [utf16(&pretty, u16::to_le_bytes), utf16(&pretty, u16::to_be_bytes)] {
        assert_eq!(read(file).unwrap().public_key_fingerprint(), expected);
    }
}

#[test]
fn pem_is_read_in_every_layout() {
    let pem = text("selfmade1024.pkcs8.pem");
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let certificate =
        std::fs::read_to_string(format!("{}/tests/fixtures/certs/sod-federated-login.pem", env!("CARGO_MANIFEST_DIR")));
    for (layout, pem) in [
        ("CRLF", pem.replace('\n', "\r\n")),
        ("text before and after", format!("Bag Attributes\n  friendlyName: x\n{pem}\nmore\n")),
        ("one line", format!("-----BEGIN PRIVATE KEY-----{body}-----END PRIVATE KEY-----")),
        ("spaces for line ends", pem.replace('\n', " ")),
        ("indented", pem.replace('\n', "\n    ")),
        ("certificate first", format!("{}{pem}", certificate.unwrap())),
        ("PKCS#8 labelled as PKCS#1", pem.replace("PRIVATE KEY", "RSA PRIVATE KEY")),
    ] {
        let key = read(&pem).unwrap_or_else(|error| panic!("{layout}: {error}"));
        assert_eq!((key.format(), key.bits()), (KeyFormat::Pkcs8Pem, 1024), "{layout}");
    }
    assert_eq!(read(utf16(&pem, u16::to_le_bytes)).unwrap().bits(), 1024);
}

#[test]
fn what_is_no_private_key_is_refused_by_name() {
    let xml = text("selfmade1024.oneline.rsakeyvalue.xml");
    let public_xml = read(&xml).unwrap().public_rsa_key_value_xml();
    let certificate = include_bytes!("../../../tests/fixtures/certs/sod-federated-login.pem");
    let der = |pem: &[u8]| pem::read(&String::from_utf8_lossy(pem).replace("CERTIFICATE", "PRIVATE KEY")).unwrap();
    let public_der = der(text("selfmade2048.public.pem").replace("PUBLIC", "PRIVATE").as_bytes());
    for (what, file, expected) in [
        ("nothing", vec![], PrivateKeyError::Empty),
        ("white space", b" \r\n\t".to_vec(), PrivateKeyError::Empty),
        ("a BOM", b"\xef\xbb\xbf".to_vec(), PrivateKeyError::Empty),
        ("too much", vec![b' '; MAX_FILE_BYTES + 1], PrivateKeyError::TooLarge),
        ("words", b"hello".to_vec(), PrivateKeyError::UnknownFormat),
        ("JSON", b"{\"kty\":\"RSA\"}".to_vec(), PrivateKeyError::UnknownFormat),
        ("not UTF-8", b"\xc3\x28\xff".to_vec(), PrivateKeyError::UnknownFormat),
        ("half a UTF-16 unit", b"\xff\xfe<".to_vec(), PrivateKeyError::UnknownFormat),
        ("a lone surrogate", b"\xff\xfe\x00\xd8".to_vec(), PrivateKeyError::UnknownFormat),
        ("a certificate", certificate.to_vec(), PrivateKeyError::Certificate),
        ("a certificate in DER", der(certificate).to_vec(), PrivateKeyError::Certificate),
        ("a public key", fixture("selfmade2048.public.pem"), PrivateKeyError::PublicKey),
        ("a public key in DER", public_der.to_vec(), PrivateKeyError::PublicKey),
        ("a public key in XML", public_xml.into_bytes(), PrivateKeyError::PublicKey),
        ("an OpenSSH public key", b"ssh-rsa AAAAB3NzaC1yc2E me".to_vec(), PrivateKeyError::PublicKey),
        ("an OpenSSH key", fixture("selfmade2048.openssh.pem"), PrivateKeyError::OpenSsh),
        ("PKCS#12", fixture("selfmade2048.pfx"), PrivateKeyError::Pkcs12),
        ("an elliptic curve key", fixture("other.ec.pkcs8.pem"), PrivateKeyError::NotRsa),
        ("three primes", fixture("threeprimes2048.pkcs8.pem"), PrivateKeyError::MultiPrime),
        ("768 bits", fixture("short768.pkcs8.pem"), PrivateKeyError::SizeUnsupported { bits: 768 }),
        ("legacy encryption", fixture("selfmade2048.legacy-dek-info.pem"), PrivateKeyError::LegacyEncryption),
        ("PEM without its end", b"-----BEGIN PRIVATE KEY-----\nAAAA\n".to_vec(), PrivateKeyError::PemMalformed),
        (
            "PEM with another end",
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_vec(),
            PrivateKeyError::PemMalformed,
        ),
        (
            "PEM with no Base64",
            b"-----BEGIN PRIVATE KEY-----\n?\n-----END PRIVATE KEY-----\n".to_vec(),
            PrivateKeyError::PemMalformed,
        ),
        (
            "PEM with no key",
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec(),
            PrivateKeyError::DerMalformed,
        ),
    ] {
        assert_eq!(refusal(file), expected, "{what}");
    }
}

#[test]
fn damaged_xml_is_refused_by_name() {
    let xml = text("selfmade1024.oneline.rsakeyvalue.xml");
    let without = |name: &str| xml.replace(&format!("<{name}>"), "<Gone>").replace(&format!("</{name}>"), "</Gone>");
    let deep = format!("<RSAKeyValue>{}", "<P>".repeat(10_000));
    for (what, file, expected) in [
        ("no P", without("P"), PrivateKeyError::XmlElementMissing("P")),
        ("no D", without("D"), PrivateKeyError::XmlElementMissing("D")),
        ("no modulus", without("Modulus"), PrivateKeyError::XmlElementMissing("Modulus")),
        ("two moduli", xml.replace("<P>", "<Modulus/><P>"), PrivateKeyError::XmlElementRepeated("Modulus")),
        (
            "an empty P",
            xml.replace("<Q>", "<Q/><Gone>").replace("</Q>", "</Gone>"),
            PrivateKeyError::XmlElementMalformed("Q"),
        ),
        ("no Base64", xml.replace("<P>", "<P>?"), PrivateKeyError::XmlElementMalformed("P")),
        (
            "an endless number",
            xml.replace("<D>", &format!("<D>{}", "A".repeat(2_000))),
            PrivateKeyError::XmlElementMalformed("D"),
        ),
        ("a document type", format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{xml}"), PrivateKeyError::XmlDoctype),
        ("an entity", xml.replace("<P>", "<P>&a;"), PrivateKeyError::XmlMalformed),
        ("cut short", xml[..xml.len() - 20].to_owned(), PrivateKeyError::XmlMalformed),
        ("another root", xml.replace("RSAKeyValue", "DSAKeyValue"), PrivateKeyError::XmlMalformed),
        ("a wrapper", format!("<Key>{xml}</Key>"), PrivateKeyError::XmlMalformed),
        ("two roots", format!("{xml}{xml}"), PrivateKeyError::XmlMalformed),
        ("words after it", format!("{xml} and more"), PrivateKeyError::XmlMalformed),
        ("an element in a number", xml.replace("<P>", "<P><x/>"), PrivateKeyError::XmlMalformed),
        ("deep nesting", deep, PrivateKeyError::XmlMalformed),
        ("crossed tags", xml.replace("</P>", "</Q>"), PrivateKeyError::XmlMalformed),
    ] {
        assert_eq!(refusal(&file), expected, "{what}");
    }
}

#[test]
fn numbers_that_do_not_fit_together_are_refused() {
    let xml = text("selfmade1024.oneline.rsakeyvalue.xml");
    let field = |name: &str| {
        let after = xml.split_once(&format!("<{name}>")).unwrap().1;
        after.split_once('<').unwrap().0.to_owned()
    };
    let (p, q) = (field("P"), field("Q"));
    let replaced = |name: &str, value: &str| xml.replace(&field(name), value);
    for (what, file, expected) in [
        ("P is Q", replaced("P", &q), PrivateKeyError::FactorsMismatch),
        ("a digit of P", replaced("P", &p.replacen(&p[10..11], "A", 1)), PrivateKeyError::FactorsMismatch),
        ("P is 0", replaced("P", "AA=="), PrivateKeyError::FactorsMismatch),
        ("P is 1", replaced("P", "AQ=="), PrivateKeyError::FactorsMismatch),
        ("P is N, Q is 1", xml.replace(&p, &field("Modulus")).replace(&q, "AQ=="), PrivateKeyError::FactorsMismatch),
        ("D is 1", replaced("D", "AQ=="), PrivateKeyError::ExponentsMismatch),
        ("D is 0", replaced("D", "AA=="), PrivateKeyError::ExponentsMismatch),
        ("D is N", replaced("D", &field("Modulus")), PrivateKeyError::ExponentsMismatch),
        ("the exponent is 3", replaced("Exponent", "Aw=="), PrivateKeyError::ExponentsMismatch),
        ("the exponent is 1", replaced("Exponent", "AQ=="), PrivateKeyError::PublicExponentUnsupported),
        ("the exponent is even", replaced("Exponent", "AQAA"), PrivateKeyError::PublicExponentUnsupported),
        ("the exponent is huge", replaced("Exponent", "BAAAAAAB"), PrivateKeyError::PublicExponentUnsupported),
        ("the modulus is 0", replaced("Modulus", "AA=="), PrivateKeyError::SizeUnsupported { bits: 0 }),
    ] {
        assert_eq!(refusal(&file), expected, "{what}");
    }
    let swapped = xml.replace(&p, "@").replace(&q, &p).replace('@', &q);
    assert_eq!(read(swapped).unwrap().bits(), 1024);
}

#[test]
fn a_square_is_no_modulus() {
    let key = read(fixture("selfmade1024.pkcs8.pem")).unwrap().numbers.clone();
    let p: &BoxedUint = key.primes().iter().map(AsRef::as_ref).max().unwrap();
    let bytes = |number: &BoxedUint| Zeroizing::new(number.to_be_bytes().to_vec());
    let wide = BoxedUint::from_be_slice(&bytes(p), 1024).unwrap();
    let components = components::Components {
        modulus: bytes(&wide.wrapping_mul(&wide)),
        public_exponent: bytes(key.e()),
        // It is right modulo p - 1, which is all that `rsa` asks for.
        private_exponent: bytes(key.d()),
        prime_p: bytes(p),
        prime_q: bytes(p),
    };
    assert_eq!(components.build().err(), Some(PrivateKeyError::FactorsMismatch));
}

/// SuperOffice's documentation prints a key whose D is valid modulo lcm(p-1, q-1) only.
#[test]
fn both_ways_to_make_the_private_exponent_are_taken() {
    let key = read(fixture("selfmade1024.pkcs8.pem")).unwrap().numbers.clone();
    let [p, q] = key.primes() else { panic!("two primes") };
    let (p, q, e) = (p.as_ref().clone(), q.as_ref().clone(), BoxedUint::from(65537_u64));
    let by_lcm = RsaPrivateKey::from_p_q(p.clone(), q.clone(), e.clone()).unwrap();
    let by_phi = RsaPrivateKey::from_primes(vec![p, q], e).unwrap();
    assert_ne!(by_lcm.d(), by_phi.d(), "the fixture shows no difference");
    for numbers in [by_lcm, by_phi] {
        let xml = PrivateKey::new(numbers, KeyFormat::Pkcs8Der).unwrap().to_rsa_key_value_xml().unwrap();
        assert_eq!(read(xml.as_bytes()).unwrap().bits(), 1024);
    }
}

#[test]
fn composite_factors_do_not_survive_the_trial_signature() {
    // The exponents fit p - 1 and q - 1, so that every check but the trial signature is content.
    let odd = |seed: u64| {
        let mut bytes: Vec<u8> =
            (0..2).flat_map(|half| Sha256::digest([seed, half].map(u64::to_be_bytes).concat())).collect();
        bytes[0] |= 0xc0;
        bytes[63] |= 1;
        BoxedUint::from_be_slice(&bytes, 512).unwrap()
    };
    let numbers = (0_u64..)
        .find_map(|seed| RsaPrivateKey::from_p_q(odd(2 * seed), odd(2 * seed + 1), BoxedUint::from(65537_u64)).ok())
        .unwrap();
    assert_eq!(PrivateKey::new(numbers, KeyFormat::Pkcs8Der).err(), Some(PrivateKeyError::Unusable));
}

#[test]
fn encrypted_keys_open_with_their_passphrase_only() {
    for file in ["selfmade2048.encrypted-pbkdf2.pem", "selfmade2048.encrypted-scrypt.pem"] {
        assert_eq!(refusal(fixture(file)), PrivateKeyError::PassphraseMissing, "{file}");
        for wrong in ["", "Correct-horse", "correct-horse\n"] {
            assert_eq!(with_passphrase(file, wrong).err(), Some(PrivateKeyError::PassphraseWrong), "{file} {wrong:?}");
        }
    }
    let costly = with_passphrase("selfmade2048.encrypted-costly-pbkdf2.pem", "correct-horse");
    assert_eq!(costly.err(), Some(PrivateKeyError::EncryptionTooCostly));
    let triple_des = with_passphrase("selfmade2048.encrypted-des3.pem", "correct-horse");
    assert_eq!(triple_des.err(), Some(PrivateKeyError::UnsupportedEncryption));
}

#[test]
fn conversions_are_read_back_as_the_same_key() {
    for bits in [1024, 2048] {
        let key = read(fixture(&format!("selfmade{bits}.pkcs8.pem"))).unwrap();
        for (format, written) in [
            (KeyFormat::Pkcs8Pem, key.to_pkcs8_pem().unwrap()),
            (KeyFormat::Pkcs1Pem, key.to_pkcs1_pem().unwrap()),
            (KeyFormat::RsaKeyValueXml, key.to_rsa_key_value_xml().unwrap()),
        ] {
            let again = read(written.as_bytes()).unwrap();
            assert_eq!(again.format(), format);
            assert_eq!(again.numbers, key.numbers);
        }
        assert_eq!(*key.to_pkcs8_pem().unwrap(), text(&format!("selfmade{bits}.pkcs8.pem")));
        assert_eq!(*key.to_pkcs1_pem().unwrap(), text(&format!("selfmade{bits}.pkcs1.pem")));
        assert_eq!(*key.to_rsa_key_value_xml().unwrap(), text(&format!("selfmade{bits}.rsakeyvalue.xml")));
        assert_eq!(key.public_pem(), text(&format!("selfmade{bits}.public.pem")));
        let public_xml = key.public_rsa_key_value_xml();
        assert!(
            text(&format!("selfmade{bits}.rsakeyvalue.xml"))
                .starts_with(public_xml.split("</RSAKeyValue>").next().unwrap())
        );
    }
}

#[test]
fn debug_output_has_no_part_of_the_key() {
    let key = read(fixture("selfmade2048.pkcs8.pem")).unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey(redacted, 2048 bits, PKCS#8 PEM)");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        drop(read(&bytes));
        drop(read([&[0x30, 0x82], bytes.as_slice()].concat()));
        let armoured = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &bytes);
        drop(read(format!("-----BEGIN PRIVATE KEY-----\n{armoured}\n-----END PRIVATE KEY-----")));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(<|>|/|&|;|-----BEGIN |-----END |RSAKeyValue|Modulus|D|P|PRIVATE KEY|-----|[ -~]|\\PC){0,40}") {
        drop(read(&text));
    }

    /// One bit or byte changed anywhere: refused, or still a key that signs.
    #[test]
    fn no_damage_makes_the_reader_panic(
        file in prop::sample::select(vec![
            "selfmade1024.rsakeyvalue.xml",
            "selfmade1024.rsa-xml-converted.pem",
            "selfmade1024.pkcs8.pem",
            "selfmade2048.pkcs1.der",
            "selfmade2048.encrypted-pbkdf2.pem",
        ]),
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = fixture(file);
        *position.get_mut(&mut bytes) = byte;
        drop(read(&bytes));
    }
}
