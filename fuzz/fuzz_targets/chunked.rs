//! Taking aws-chunked bodies apart.

#![no_main]

use bytes::Bytes;
use lambic_wire::chunked;
use lambic_wire::sigv4::PayloadForm;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let body = Bytes::copy_from_slice(input);
    for form in [PayloadForm::Chunks, PayloadForm::ChunksTrailer, PayloadForm::UnsignedTrailer] {
        if let Ok(decoded) = chunked::decode(&body, form, None) {
            assert!(decoded.body.len() <= body.len());
        }
    }
});
