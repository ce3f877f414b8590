use std::path::PathBuf;

use url::Url;

/// How service accounts' tokens are verified.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's issuer: `iss` of its tokens, letter for letter.
    pub issuer: String,
    /// Us: what `aud` has to have.
    pub audience: String,
    /// Where the cluster's keys are.
    pub keys: KeySource,
    /// Whether the cluster is asked about each token, too. Then its keys are the API server's.
    pub token_review: bool,
}

/// Where a cluster's key set is.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// At an address: the API server's `/openid/v1/jwks`, or the issuer's own.
    Url {
        /// https.
        url: Url,
        /// The root certificates that the server's is verified with; the system's when none.
        ca_file: Option<PathBuf>,
        /// Our own token, sent to this server and no other.
        token_file: Option<PathBuf>,
    },
    /// In a file that somebody else keeps up to date.
    File(PathBuf),
}
