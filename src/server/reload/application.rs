use super::Subject;
use crate::config::{Application, Source};
use crate::credentials::CurrentSigningKeys;
use crate::crypto::{Fingerprinter, PrivateKey};
use crate::superoffice::{CurrentClientSecret, Settings};

/// What the application proves itself with, where it is used.
#[derive(Clone)]
pub(in crate::server) struct ApplicationInUse {
    client_secret: CurrentClientSecret,
    pub(in crate::server) signing_keys: CurrentSigningKeys,
    pub(in crate::server) fingerprinter: Fingerprinter,
}

impl ApplicationInUse {
    /// Begins with what the configuration holds.
    pub(in crate::server) fn new(superoffice: &Settings, signing_keys: Vec<PrivateKey>) -> Self {
        let client_secret = superoffice.client_secret.clone();
        let fingerprinter = Fingerprinter::new(&client_secret.get());
        Self { client_secret, signing_keys: signing_keys.into(), fingerprinter }
    }

    /// Has it follow its files.
    pub(in crate::server) fn follow(self, source: Source) -> Subject {
        let files = source.application_files().to_vec();
        Subject::new(
            "client secret and signing keys",
            files,
            move || source.application(),
            move |new| self.replace(new),
        )
    }

    fn replace(&self, Application { client_secret, signing_keys }: Application) {
        if *self.client_secret.get() != client_secret {
            self.fingerprinter.replace_secret(&client_secret);
            self.client_secret.replace(client_secret);
        }
        self.signing_keys.replace(signing_keys);
    }
}
