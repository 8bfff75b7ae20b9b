//! Decoding and signal processing: images, sound, tokenisers.
//!
//! The room stands empty until the kinds that read media are built; what is in it will know columns and blobs, and no
//! graph.
