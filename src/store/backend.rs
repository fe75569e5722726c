//! What a storage must be able to do to stand behind the store. Two do: a file (`disk`) and memory.

use super::{Op, StoreError, Table};

/// Keys and values of a table, in the order of the keys.
pub(super) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// Calls of `apply` come from one thread, one at a time; `load` may come from any, beside them.
pub(super) trait Backend: Send + Sync {
    /// All rows of a table as of the last `apply`, or an error; never fewer.
    fn load(&self, table: Table) -> Result<Rows, StoreError>;

    /// Makes all changes in order and returns when they are durable. After an error the state is unknown, and the caller must not
    /// call again.
    fn apply(&self, ops: &[Op]) -> Result<(), StoreError>;
}
