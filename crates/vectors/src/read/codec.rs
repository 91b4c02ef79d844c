//! Pages of a Parquet file, unpacked in memory that what is really in them takes.
//!
//! A page's header says how large it is unpacked. Whoever believes it takes that memory, up to 2 GiB for some bytes that
//! lie; here it grows with what comes out, and ends at what the footer says of the column's chunk. Source: parquet-format's
//! Compression.md.

use std::io::Read;

use brotli_decompressor::Decompressor;
use flate2::read::MultiGzDecoder;
use lz4_flex::{block, frame::FrameDecoder};
use parquet::basic::Compression;
use ruzstd::decoding::StreamingDecoder;

/// Bytes that brotli's decoder reads at a time.
const BROTLI_BYTES: usize = 4096;
/// What a byte of LZ4 or of snappy can become at most.
const LZ4_TIMES: usize = 255;
const SNAPPY_TIMES: usize = 64;

/// Unpacks all of `packed`, to `most` bytes at most.
///
/// # Errors
/// Bytes that are not of this codec, more of them than `most`, a codec that is not known.
pub(super) fn unpacked(codec: Compression, packed: &[u8], most: usize) -> Result<Vec<u8>, String> {
    if packed.is_empty() {
        // A page without one number that is there.
        return Ok(Vec::new());
    }
    match codec {
        Compression::UNCOMPRESSED => Ok(packed.to_vec()),
        Compression::SNAPPY => snappy(packed, most),
        Compression::GZIP(_) => grown(MultiGzDecoder::new(packed), most),
        Compression::BROTLI(_) => grown(Decompressor::new(packed, BROTLI_BYTES), most),
        Compression::ZSTD(_) => zstd(packed, most),
        Compression::LZ4_RAW => lz4_block(packed, most),
        Compression::LZ4 => lz4(packed, most),
        Compression::LZO => Err("lzo is not known".to_owned()),
    }
}

/// All that `packed` gives, unless it is more than `most` bytes.
fn grown(packed: impl Read, most: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut limited = packed.take(most as u64 + 1);
    limited.read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() > most {
        return Err(too_large(most));
    }
    Ok(bytes)
}

fn snappy(packed: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let says = snap::raw::decompress_len(packed).map_err(told)?;
    if says > most.min(packed.len().saturating_mul(SNAPPY_TIMES)) {
        return Err(too_large(most));
    }
    snap::raw::Decoder::new()
        .decompress_vec(packed)
        .map_err(told)
}

/// One frame behind the other.
fn zstd(mut packed: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while !packed.is_empty() {
        let frame = StreamingDecoder::new(&mut packed).map_err(told)?;
        bytes.append(&mut grown(frame, most - bytes.len())?);
    }
    Ok(bytes)
}

fn lz4_block(packed: &[u8], most: usize) -> Result<Vec<u8>, String> {
    // It does not say how large it is.
    let mut bytes = vec![0; most.min(packed.len().saturating_mul(LZ4_TIMES))];
    let length = block::decompress_into(packed, &mut bytes).map_err(told)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// What old writers mean by LZ4: Hadoop's blocks, or a frame, or a block.
fn lz4(packed: &[u8], most: usize) -> Result<Vec<u8>, String> {
    if let Ok(bytes) = lz4_hadoop(packed, most) {
        return Ok(bytes);
    }
    let framed = grown(FrameDecoder::new(packed), most);
    framed.or_else(|_no_frame| lz4_block(packed, most))
}

/// Blocks, each behind its length unpacked and its length packed, both in four bytes, the highest first.
fn lz4_hadoop(mut packed: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some((head, rest)) = packed.split_first_chunk::<8>() {
        let [a, b, c, d, e, f, g, h] = *head;
        let unpacked = u32::from_be_bytes([a, b, c, d]) as usize;
        let block = rest.get(..u32::from_be_bytes([e, f, g, h]) as usize);
        let block = block.ok_or("a block that is cut short")?;
        if unpacked > most - bytes.len() {
            return Err(too_large(most));
        }
        let mut found = lz4_block(block, unpacked)?;
        if found.len() != unpacked {
            return Err("a block of another length than it says".to_owned());
        }
        bytes.append(&mut found);
        packed = &rest[block.len()..];
    }
    match packed {
        [] => Ok(bytes),
        _ => Err("bytes behind the last block".to_owned()),
    }
}

fn too_large(most: usize) -> String {
    format!("a page that unpacks to more than the {most} bytes its column has")
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hadoops_blocks_and_frames_are_both_lz4() {
        let text = b"the same again, the same again, the same again".repeat(20);
        let block = block::compress(&text);
        let mut hadoop = Vec::new();
        for _ in 0..2 {
            hadoop.extend((text.len() as u32).to_be_bytes());
            hadoop.extend((block.len() as u32).to_be_bytes());
            hadoop.extend(&block);
        }
        let most = 2 * text.len();
        assert_eq!(
            unpacked(Compression::LZ4, &hadoop, most),
            Ok(text.repeat(2))
        );
        assert_eq!(unpacked(Compression::LZ4, &block, most), Ok(text.clone()));
        assert_eq!(unpacked(Compression::LZ4_RAW, &block, most), Ok(text));
        assert!(unpacked(Compression::LZ4, &hadoop, most - 1).is_err());
    }

    #[test]
    fn a_length_that_lies_takes_no_memory() {
        // Snappy's first bytes say 2^32 - 1; LZ4's say so in Hadoop's way.
        let snappy = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x61];
        assert!(unpacked(Compression::SNAPPY, &snappy, usize::MAX).is_err());
        let hadoop = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 2, 0x10, 0x61];
        assert!(lz4_hadoop(&hadoop, usize::MAX).is_err());
    }
}
