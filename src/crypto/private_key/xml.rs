use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use quick_xml::Reader;
use quick_xml::events::Event;
use zeroize::Zeroizing;

use super::PrivateKeyError;
use super::components::Components;

/// The elements that are read; the CRT values beside them are not.
const FIELDS: [&str; 5] = ["Modulus", "Exponent", "D", "P", "Q"];

/// Longer than the Base64 of any 4096-bit number.
const MAX_FIELD_CHARACTERS: usize = 1024;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads `<RSAKeyValue>`: elements in any order, white space anywhere, any namespace prefix.
pub(super) fn read(text: &str) -> Result<Components, PrivateKeyError> {
    let fields = read_fields(text)?;
    // A public key has these two only; with some of the rest there, a missing element is damage and is named.
    if fields.iter().skip(2).all(Option::is_none) && fields.iter().take(2).all(Option::is_some) {
        return Err(PrivateKeyError::PublicKey);
    }
    let [modulus, public_exponent, private_exponent, prime_p, prime_q] = fields;
    Ok(Components {
        modulus: decode("Modulus", modulus)?,
        public_exponent: decode("Exponent", public_exponent)?,
        private_exponent: decode("D", private_exponent)?,
        prime_p: decode("P", prime_p)?,
        prime_q: decode("Q", prime_q)?,
    })
}

type Field = Option<Zeroizing<String>>;

fn read_fields(text: &str) -> Result<[Field; 5], PrivateKeyError> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut fields: [Field; 5] = Default::default();
    let mut place = Place::Before;
    loop {
        // quick-xml itself refuses an end tag that does not match.
        match reader.read_event().map_err(|_| PrivateKeyError::XmlMalformed)? {
            Event::Start(start) => {
                place = match place {
                    Place::Before if start.local_name().as_ref() == "RSAKeyValue" => Place::Root,
                    Place::Root => Place::Field(open_field(&mut fields, start.local_name().as_ref())?),
                    _ => return Err(PrivateKeyError::XmlMalformed),
                }
            }
            Event::End(_) => place = if place == Place::Root { Place::After } else { Place::Root },
            Event::Text(text) => append(&mut fields, place, &text)?,
            Event::CData(text) => append(&mut fields, place, &text)?,
            // A writer on Windows may spell a line break inside the Base64 as `&#xD;`.
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(character)) => append(&mut fields, place, character.encode_utf8(&mut [0; 4]))?,
                _ => return Err(PrivateKeyError::XmlMalformed),
            },
            Event::DocType(_) => return Err(PrivateKeyError::XmlDoctype),
            Event::Eof if place == Place::After => return Ok(fields),
            Event::Eof | Event::Empty(_) => return Err(PrivateKeyError::XmlMalformed),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Before,
    Root,
    /// In an element of the root: its index in [`FIELDS`], or none when it is not read.
    Field(Option<usize>),
    After,
}

fn open_field(fields: &mut [Field; 5], name: &str) -> Result<Option<usize>, PrivateKeyError> {
    let Some(index) = FIELDS.iter().position(|&field| field == name) else { return Ok(None) };
    let (Some(field), Some(&name)) = (fields.get_mut(index), FIELDS.get(index)) else { return Ok(None) };
    if field.is_some() {
        return Err(PrivateKeyError::XmlElementRepeated(name));
    }
    // It never grows beyond this, so that no copy of a secret number is left behind on the heap.
    *field = Some(Zeroizing::new(String::with_capacity(MAX_FIELD_CHARACTERS)));
    Ok(Some(index))
}

fn append(fields: &mut [Field; 5], place: Place, text: &str) -> Result<(), PrivateKeyError> {
    match place {
        Place::Field(None) => Ok(()),
        Place::Field(Some(index)) => {
            let Some(Some(field)) = fields.get_mut(index) else { return Ok(()) };
            for character in text.chars().filter(|character| !character.is_whitespace()) {
                if field.len() + character.len_utf8() > MAX_FIELD_CHARACTERS {
                    let name = FIELDS.get(index).copied().unwrap_or_default();
                    return Err(PrivateKeyError::XmlElementMalformed(name));
                }
                field.push(character);
            }
            Ok(())
        }
        Place::Before | Place::Root | Place::After if text.trim().is_empty() => Ok(()),
        Place::Before | Place::Root | Place::After => Err(PrivateKeyError::XmlMalformed),
    }
}

fn decode(name: &'static str, field: Field) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let text = field.ok_or(PrivateKeyError::XmlElementMissing(name))?;
    let bytes = BASE64.decode(text.as_bytes()).map_err(|_| PrivateKeyError::XmlElementMalformed(name))?;
    if bytes.is_empty() { Err(PrivateKeyError::XmlElementMalformed(name)) } else { Ok(Zeroizing::new(bytes)) }
}
