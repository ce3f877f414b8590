//! What listener, connection, layers and drain do on the wire, with a handler of the test's and a clock that it moves.
//! What attackers do to the whole server is in `tests/edge`.

mod calls;
mod caps;
mod ends;
mod limits;
mod raw_peer;
mod rig;
