use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Declares a secret text: zeroized when dropped, compared in constant time, and absent from its `Debug` output.
macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(SecretString);

        impl $name {
            /// Takes the secret over.
            pub fn new(secret: impl Into<String>) -> Self {
                Self(taken_over(secret.into()))
            }

            /// The secret itself, for the one place that sends, stores or checks it.
            pub fn expose(&self) -> &str {
                self.0.expose_secret()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
            }
        }

        impl Eq for $name {}
    };
}

secret!(
    /// A tenant's grant to our application, `Application Name-8k8Q7DmBgo`: constant until the tenant withdraws it.
    SystemUserToken
);
secret!(
    /// A system user token with its time stamp and signature, as it goes to SuperOffice. Reusable for about 15 minutes.
    SignedSystemToken
);
secret!(
    /// The application's OAuth client secret, which SuperOffice also calls ApplicationToken and `SO-AppToken`.
    ClientSecret
);
secret!(
    /// The password of the user as whom a database is used.
    DatabasePassword
);
secret!(
    /// A system user ticket, `7T:…`: opens the tenant's whole database for six hours from its last use.
    Ticket
);
secret!(
    /// An OAuth access token, `8A:Cust12345.…`.
    AccessToken
);
secret!(
    /// An OAuth refresh token: lives as long as the tenant's consent.
    RefreshToken
);
secret!(
    /// An OAuth authorization code: good for ten minutes and one exchange.
    AuthorizationCode
);
secret!(
    /// The secret of one sign-in (RFC 7636), whose hash went along with the authorization request.
    CodeVerifier
);
secret!(
    /// What ties an ID token to the sign-in that it was asked for in.
    Nonce
);
secret!(
    /// The `state` that names a sign-in under way: whoever knows it can end that sign-in.
    SignInState
);
secret!(
    /// What the browser that began a sign-in keeps in a cookie, and no other browser has.
    BrowserSecret
);
secret!(
    /// A JWT as it came from a peer: nothing in it is true before it is verified.
    UnverifiedJwt
);

/// A text with room to spare would be moved to a place without, and leave a copy behind that nobody wipes.
fn taken_over(secret: String) -> SecretString {
    if secret.capacity() == secret.len() {
        return SecretString::from(secret);
    }
    let roomy = Zeroizing::new(secret);
    SecretString::from(roomy.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_no_part_of_the_secret() {
        let canary = "canary-3f9a61c2";
        let shown = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            SystemUserToken::new(canary),
            SignedSystemToken::new(canary),
            ClientSecret::new(canary),
            Ticket::new(canary),
            AccessToken::new(canary),
            RefreshToken::new(canary),
            AuthorizationCode::new(canary),
            CodeVerifier::new(canary),
            Nonce::new(canary),
            SignInState::new(canary),
            BrowserSecret::new(canary),
            UnverifiedJwt::new(canary),
        );
        assert!(!shown.contains("canary") && !shown.contains("3f9a"), "{shown}");
        assert!(shown.starts_with("SystemUserToken(redacted)"), "{shown}");
    }

    #[test]
    fn equality_looks_at_the_whole_secret() {
        assert_eq!(Ticket::new("7T:a"), Ticket::new("7T:a"));
        assert_ne!(Ticket::new("7T:a"), Ticket::new("7T:ab"));
        assert_ne!(Ticket::new("7T:a"), Ticket::new("7T:b"));
    }
}
