//! A storage that forgets: for `--dev`, and the model that the disk is compared with in tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::backend::{Backend, Rows};
use super::{Op, StoreError, Table};

type Tables = BTreeMap<Table, BTreeMap<Vec<u8>, Bytes>>;

#[derive(Default)]
pub(super) struct Memory(Mutex<Tables>);

impl Backend for Memory {
    fn load(&self, table: Table) -> Result<Rows, StoreError> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tables.get(&table).into_iter().flatten().map(|(key, value)| (key.clone(), value.to_vec())).collect())
    }

    fn apply(&self, ops: &[Op]) -> Result<(), StoreError> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for op in ops {
            match op.clone() {
                Op::Put { table, key, value } => drop(tables.entry(table).or_default().insert(key, value)),
                Op::Delete { table, key } => drop(tables.entry(table).or_default().remove(&key)),
            }
        }
        Ok(())
    }
}
