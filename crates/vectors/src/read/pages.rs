//! A column's pages, counted: a page may not hold more numbers than its group has left.
//!
//! A few bytes can say "the same number two billion times". What the footer says of a group is checked when it is opened;
//! here, the pages are held to it. Pages without numbers, which some writers make, are passed over: the decoder would take
//! them for the end.

use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};

pub(super) struct Pages {
    inner: Box<dyn PageReader>,
    /// Numbers the group has left.
    left: i64,
    /// A page that was looked at and not yet taken.
    ahead: Option<Page>,
}

impl Pages {
    pub(super) fn new(inner: Box<dyn PageReader>, numbers: i64) -> Self {
        Self {
            inner,
            left: numbers,
            ahead: None,
        }
    }

    fn next_page(&mut self) -> Result<Option<Page>> {
        while let Some(page) = self.inner.get_next_page()? {
            if page.is_dictionary_page() {
                return Ok(Some(page));
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
                return Ok(Some(page));
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
