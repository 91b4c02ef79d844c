//! Rows of a packed table.
//!
//! Layout: see [`super`]. Contract: the values that [`super::unpack`] gives, exactly.
//! Measured: not measured; it reads each element once.

use super::{Packed, pack};
use crate::cpu::Cpu;
use crate::parts::Parts;

/// Unpacks the rows `ids` of `table` to `out`: `[ids, columns]`.
///
/// # Panics
/// On an id outside of the table or a wrong length of `out`.
pub fn embed_packed(cpu: &Cpu, table: Packed<'_>, ids: &[u32], out: &mut [f32]) {
    let columns = table.columns();
    assert_eq!(
        out.len(),
        ids.len() * columns,
        "output [{}, {columns}]",
        ids.len()
    );
    let inside = ids.iter().all(|&id| (id as usize) < table.rows());
    assert!(inside, "an id is outside of {} rows", table.rows());
    let out = Parts::new(out);
    cpu.run_ranges(ids.len(), columns, |rows| {
        for r in rows {
            // SAFETY: each row of the output belongs to one range.
            let out = unsafe { out.part(r * columns..(r + 1) * columns) };
            pack::unpack_row(table, ids[r] as usize, out);
        }
    });
}
