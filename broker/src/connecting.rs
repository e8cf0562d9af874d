//! What a connection that could not be made says of the other end.

use std::error::Error;
use std::io;

/// Whether the machine answered that no process listens there: nothing was sent, and who should be there is gone.
pub(crate) fn nobody_listens(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}
