use rsa::pkcs8::EncryptedPrivateKeyInfoRef;
use rsa::pkcs8::pkcs5::{self, pbes2::Kdf};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::PrivateKeyError;

/// Ten times and more what anyone recommends; some seconds of work.
const MAX_PBKDF2_ROUNDS: u32 = 10_000_000;
const MAX_SCRYPT_BYTES: u64 = 256 * 1024 * 1024;
/// scrypt passes over its memory once for each unit of parallelization.
const MAX_SCRYPT_PARALLELIZATION: u16 = 16;

/// Opens PKCS#8 encrypted by PBES2. What a hostile file may ask for in work and memory is checked before any is done.
pub(super) fn decrypt(der: &[u8], passphrase: &SecretString) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| PrivateKeyError::UnsupportedEncryption)?;
    let parameters = info.encryption_algorithm.pbes2().ok_or(PrivateKeyError::UnsupportedEncryption)?;
    check_cost(&parameters.kdf)?;
    parameters.decrypt(passphrase.expose_secret(), info.encrypted_data.as_bytes()).map(Zeroizing::new).map_err(
        |error| match error {
            pkcs5::Error::UnsupportedAlgorithm { .. } | pkcs5::Error::AlgorithmParametersInvalid { .. } => {
                PrivateKeyError::UnsupportedEncryption
            }
            _ => PrivateKeyError::PassphraseWrong,
        },
    )
}

fn check_cost(kdf: &Kdf) -> Result<(), PrivateKeyError> {
    let bearable = match kdf {
        Kdf::Pbkdf2(parameters) => parameters.iteration_count <= MAX_PBKDF2_ROUNDS,
        Kdf::Scrypt(parameters) => {
            // The library's own conversion panics on a cost of zero.
            if parameters.cost_parameter < 2 || !parameters.cost_parameter.is_power_of_two() {
                return Err(PrivateKeyError::UnsupportedEncryption);
            }
            let bytes = parameters.cost_parameter.saturating_mul(128).saturating_mul(parameters.block_size.into());
            bytes <= MAX_SCRYPT_BYTES && parameters.parallelization <= MAX_SCRYPT_PARALLELIZATION
        }
        _ => return Err(PrivateKeyError::UnsupportedEncryption),
    };
    if bearable { Ok(()) } else { Err(PrivateKeyError::EncryptionTooCostly) }
}

#[cfg(test)]
mod tests {
    use rsa::pkcs8::pkcs5::pbes2::{Pbkdf2Params, ScryptParams};

    use super::*;

    fn scrypt(cost_parameter: u64, block_size: u16, parallelization: u16) -> Kdf {
        let salt = [7; 8].as_slice().try_into().unwrap();
        Kdf::Scrypt(ScryptParams { salt, cost_parameter, block_size, parallelization, key_length: None })
    }

    #[test]
    fn work_is_bounded_before_it_is_done() {
        let pbkdf2 = |rounds| Kdf::Pbkdf2(Pbkdf2Params::hmac_sha256(rounds, &[7; 8]).unwrap());
        assert_eq!(check_cost(&pbkdf2(MAX_PBKDF2_ROUNDS)), Ok(()));
        assert_eq!(check_cost(&pbkdf2(MAX_PBKDF2_ROUNDS + 1)), Err(PrivateKeyError::EncryptionTooCostly));
        assert_eq!(check_cost(&scrypt(1 << 18, 8, 1)), Ok(()));
        assert_eq!(check_cost(&scrypt(1 << 19, 8, 1)), Err(PrivateKeyError::EncryptionTooCostly));
        assert_eq!(check_cost(&scrypt(1 << 63, u16::MAX, 1)), Err(PrivateKeyError::EncryptionTooCostly));
        assert_eq!(check_cost(&scrypt(1 << 10, 8, 17)), Err(PrivateKeyError::EncryptionTooCostly));
        for no_power_of_two in [0, 1, 3, 1023] {
            let kdf = scrypt(no_power_of_two, 8, 1);
            assert_eq!(check_cost(&kdf), Err(PrivateKeyError::UnsupportedEncryption), "{no_power_of_two}");
        }
    }
}
