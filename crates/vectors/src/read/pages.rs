//! A column's pages, unpacked and counted: a page may not hold more numbers than its group has left.
//!
//! The decoder is told that the column is not packed, so its pages come as they lie; they are unpacked here, see
//! [`super::codec`].
//!
//! A few bytes can say "the same number two billion times". What the footer says of a group is checked when it is opened;
//! here, the pages are held to it. Pages without numbers, which some writers make, are passed over: the decoder would take
//! them for the end.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

use super::codec::unpacked;

pub(super) struct Pages {
    inner: Box<dyn PageReader>,
    codec: Compression,
    /// Bytes of a page, at most.
    bytes_max: usize,
    /// Numbers the group has left.
    left: i64,
    /// A page that was looked at and not yet taken.
    ahead: Option<Page>,
}

impl Pages {
    /// The pages of a column's chunk in a group of `rows`.
    pub(super) fn of<R: ChunkReader + 'static>(
        source: &Arc<R>,
        chunk: &ColumnChunkMetaData,
        rows: usize,
    ) -> Result<Self> {
        let wrong = |reason: String| Err(ParquetError::General(reason));
        let (begin, length) = chunk.byte_range();
        let file = source.len();
        if begin.checked_add(length).is_none_or(|end| end > file) {
            return wrong(format!(
                "{length} bytes from {begin} on, in a file of {file}"
            ));
        }
        let says = chunk.uncompressed_size();
        let Ok(bytes_max) = usize::try_from(says) else {
            return wrong(format!("{says} bytes of a column"));
        };
        let codec = chunk.compression();
        let as_it_lies = chunk.clone().into_builder();
        let as_it_lies = as_it_lies
            .set_compression(Compression::UNCOMPRESSED)
            .build()?;
        let inner = SerializedPageReader::new(Arc::clone(source), &as_it_lies, rows, None)?;
        Ok(Self {
            inner: Box::new(inner),
            codec,
            bytes_max,
            left: chunk.num_values(),
            ahead: None,
        })
    }

    /// The page's bytes without their packing, the first `levels` of which are not packed.
    fn unpacked(&self, bytes: &Bytes, levels: usize) -> Result<Bytes> {
        let wrong = |reason: String| ParquetError::General(reason);
        let (levels, packed) = bytes
            .split_at_checked(levels)
            .ok_or_else(|| wrong("a page shorter than its levels".to_owned()))?;
        let values = unpacked(self.codec, packed, self.bytes_max).map_err(wrong)?;
        Ok([levels, &values].concat().into())
    }

    /// The page as the decoder wants it.
    fn ready(&self, mut page: Page) -> Result<Page> {
        if self.codec == Compression::UNCOMPRESSED {
            return Ok(page);
        }
        match &mut page {
            Page::DictionaryPage { buf, .. } | Page::DataPage { buf, .. } => {
                *buf = self.unpacked(buf, 0)?;
            }
            Page::DataPageV2 {
                buf,
                is_compressed: true,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                *buf = self.unpacked(buf, usize::try_from(levels).unwrap_or(usize::MAX))?;
            }
            Page::DataPageV2 { .. } => {}
        }
        Ok(page)
    }

    fn next_page(&mut self) -> Result<Option<Page>> {
        while let Some(page) = self.inner.get_next_page()? {
            if page.is_dictionary_page() {
                return self.ready(page).map(Some);
            }
            let numbers = i64::from(page.num_values());
            if numbers > self.left {
                let left = self.left;
                return Err(ParquetError::General(format!(
                    "a page of {numbers} numbers where the footer leaves {left}"
                )));
            }
            self.left -= numbers;
            if numbers > 0 {
                return self.ready(page).map(Some);
            }
        }
        Ok(None)
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        match self.ahead.take() {
            Some(page) => Ok(Some(page)),
            None => self.next_page(),
        }
    }

    /// The decoder asks for it only where it skips rows, which nobody does here.
    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        Err(ParquetError::NYI("looking at a page".to_owned()))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.get_next_page().map(drop)
    }

    /// Pages of version 2 begin with a row; those of version 1 may go on with one.
    fn at_record_boundary(&mut self) -> Result<bool> {
        if self.ahead.is_none() {
            self.ahead = self.next_page()?;
        }
        Ok(!matches!(self.ahead, Some(Page::DataPage { .. })))
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
