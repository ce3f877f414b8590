//! What the person in front of a failed sign-in is told.

use axum::http::StatusCode;

use crate::http::failure::Told;

const IF_AGAIN: &str = "Wait a moment and begin again. If it happens once more, tell the people who run this service.";
const TELL: &str = "Tell the people who run this service. There is nothing that you could do about it.";

pub(super) const UNKNOWN: Told = Told {
    status: StatusCode::GONE,
    reason: "SIGN_IN_UNKNOWN",
    title: "This sign-in has expired or was used already",
    happened: "A sign-in has to be finished within ten minutes, and it can be finished once.",
    next: "If you have read that SuperOffice is connected, it is, and you can close this page. If not, begin \
           again.",
};
pub(super) const OTHER_BROWSER: Told = Told {
    status: StatusCode::FORBIDDEN,
    reason: "SIGN_IN_OF_OTHER_BROWSER",
    title: "This sign-in was not begun in this browser",
    happened: "For your safety a sign-in has to end in the browser that it began in. Nothing has been changed.",
    next: "Begin again in this browser, or go on in the other one. If you did begin here, let the browser keep \
           this site’s cookies.",
};
pub(super) const WRONG_TENANT: Told = Told {
    status: StatusCode::FORBIDDEN,
    reason: "SIGN_IN_OF_WRONG_TENANT",
    title: "You signed in to another tenant",
    happened: "The link that you were sent is for another SuperOffice tenant than the one that you signed in to. \
           Nothing has been connected.",
    next: "Open the link once more, and at SuperOffice choose the tenant that it names. If that is not yours, \
           ask whoever sent you the link for a new one.",
};
pub(super) const WRONG_USER: Told = Told {
    status: StatusCode::FORBIDDEN,
    reason: "SIGN_IN_OF_WRONG_USER",
    title: "You signed in as another user",
    happened: "The link that you were sent is for another user than the one that you signed in as. Nothing has been \
           connected.",
    next: "Sign out at SuperOffice, open the link once more and sign in as the user that it names. If that is \
           not you, ask whoever sent you the link for a new one.",
};
pub(super) const NO_SYSTEM_USER_TOKEN: Told = Told {
    status: StatusCode::FORBIDDEN,
    reason: "SYSTEM_USER_TOKEN_MISSING",
    title: "SuperOffice has not given access to your tenant",
    happened: "You signed in, but an administrator has not approved the application for your company yet. Nothing \
           has been connected.",
    next: "Let an administrator of SuperOffice in your company open the link, sign in and approve the \
           application. If you are one and have approved it, tell the people who run this service: the \
           application may be registered without a system user.",
};
pub(super) const CODE_REFUSED: Told = Told {
    status: StatusCode::BAD_REQUEST,
    reason: "CODE_REFUSED",
    title: "SuperOffice did not confirm the sign-in",
    happened: "What SuperOffice sent you back with has expired, was used already, or is not complete. Nothing has \
           been connected.",
    next: "Begin again.",
};
pub(super) const CLIENT_REFUSED: Told = Told {
    status: StatusCode::BAD_GATEWAY,
    reason: "CLIENT_REFUSED",
    title: "SuperOffice does not accept this service",
    happened: "You signed in, but SuperOffice refused the application itself. Nothing has been connected.",
    next: TELL,
};
pub(super) const TOKEN_INVALID: Told = Told {
    status: StatusCode::BAD_GATEWAY,
    reason: "TOKEN_INVALID",
    title: "The sign-in could not be verified",
    happened: "What SuperOffice said about your sign-in does not hold up to this service’s checks. Nothing has been \
           connected.",
    next: "Begin again. If it happens once more, tell the people who run this service.",
};
pub(super) const REDIRECT_URI_NOT_ALLOWED: Told = Told {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    reason: "REDIRECT_URI_NOT_ALLOWED",
    title: "This service is not set up for sign-ins",
    happened: "Its own address is not among those that sign-ins may come back to.",
    next: TELL,
};
pub(super) const TOO_MANY: Told = Told {
    status: StatusCode::SERVICE_UNAVAILABLE,
    reason: "TOO_MANY_SIGN_INS",
    title: "Too many people are signing in",
    happened: "As many sign-ins as this service takes are under way.",
    next: IF_AGAIN,
};
pub(super) const TENANT_READ_ONLY: Told = Told {
    status: StatusCode::CONFLICT,
    reason: "TENANT_READ_ONLY",
    title: "Your tenant is administered elsewhere",
    happened: "SuperOffice gave new access to your tenant, but this service keeps your tenant’s access in files that \
           it does not change itself. It goes on with what is there.",
    next: "Tell the people who run this service: they have to replace the file.",
};
pub(super) const TENANT_UNUSABLE: Told = Told {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    reason: "TENANT_UNUSABLE",
    title: "What is kept of your tenant is damaged",
    happened: "This service cannot read what it keeps of your tenant, and changes nothing before somebody has looked.",
    next: TELL,
};
pub(super) const THROTTLED: Told = Told {
    status: StatusCode::SERVICE_UNAVAILABLE,
    reason: "SUPEROFFICE_THROTTLED",
    title: "SuperOffice is busy",
    happened: "SuperOffice asked this service to wait. Nothing has been connected.",
    next: IF_AGAIN,
};
pub(super) const UNAVAILABLE: Told = Told {
    status: StatusCode::SERVICE_UNAVAILABLE,
    reason: "SUPEROFFICE_UNAVAILABLE",
    title: "SuperOffice cannot be reached",
    happened: "This service did not get an answer from SuperOffice. Nothing has been connected.",
    next: IF_AGAIN,
};
pub(super) const STORE_UNAVAILABLE: Told = Told {
    status: StatusCode::SERVICE_UNAVAILABLE,
    reason: "STORE_UNAVAILABLE",
    title: "This service cannot save anything now",
    happened: "Its database is out of reach for the moment. Nothing has been connected.",
    next: IF_AGAIN,
};
pub(super) const ACCESS_DENIED: Told = Told {
    status: StatusCode::FORBIDDEN,
    reason: "ACCESS_DENIED",
    title: "SuperOffice was not connected",
    happened: "The application was not approved at SuperOffice. Nothing has been changed.",
    next: "If that was not what you wanted, begin again and approve the application. Only an administrator of \
           SuperOffice in your company can do that.",
};
pub(super) const REFUSED: Told = Told {
    status: StatusCode::BAD_GATEWAY,
    reason: "SIGN_IN_REFUSED",
    title: "SuperOffice refused the sign-in",
    happened: "SuperOffice did not let you sign in to this application. Nothing has been connected.",
    next: "Begin again. If it happens once more, tell the people who run this service.",
};
pub(super) const OUTCOME_UNKNOWN: Told = Told {
    status: StatusCode::NOT_FOUND,
    reason: "OUTCOME_UNKNOWN",
    title: "There is nothing to show",
    happened: "How a sign-in ended is shown for an hour, in the browser that it was done in.",
    next: "If you have read that SuperOffice is connected, it is, and you can close this page.",
};
pub(super) const FOREIGN_SITE: Told = Told {
    status: StatusCode::FORBIDDEN,
    reason: "FOREIGN_SITE",
    title: "Another site sent you here",
    happened: "Another site tried to begin a sign-in in your name. Nothing has been changed.",
    next: "If you want to connect SuperOffice, begin here. If not, close the page.",
};
pub(super) const NO_FORM: Told = Told {
    status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
    reason: "NO_FORM",
    title: "This is not the page’s own form",
    happened: "What was sent is not what the page’s button sends. Nothing has been changed.",
    next: "Open the link that you were sent in a browser, and press the button there.",
};
