//! Files of GGUF for tests, right until the test changes them.
//!
//! In: keys and tensors. Out: a file as llama.cpp writes them, written here a second time so that reader and writer do not
//! share a mistake. It checks nothing: what a test puts in is what stands in the file.

/// A value of a [`GgufFile`].
#[derive(Debug, Clone)]
pub enum GgufValue {
    /// Type 4.
    U32(u32),
    /// Type 6.
    F32(f32),
    /// Type 7.
    Flag(bool),
    /// Type 8.
    Text(String),
    /// Type 9, of texts.
    Texts(Vec<String>),
    /// Type 9, of i32.
    I32s(Vec<i32>),
    /// A type's number and the bytes behind it, in any state.
    Raw(u32, Vec<u8>),
}

impl From<u32> for GgufValue {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}

impl From<f32> for GgufValue {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}

impl From<&str> for GgufValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A tensor of a [`GgufFile`].
#[derive(Debug, Clone)]
pub struct GgufTensor {
    /// Its name.
    pub name: String,
    /// Its dimensions, the fastest first, as the file has them.
    pub dims: Vec<u64>,
    /// Its type's number: 0 F32, 1 F16, 2 Q4_0, 8 Q8_0 and so on.
    pub kind: u32,
    /// As stored.
    pub bytes: Vec<u8>,
}

/// A file to be written.
#[derive(Debug, Clone)]
pub struct GgufFile {
    /// The version.
    pub version: u32,
    /// In order.
    pub keys: Vec<(String, GgufValue)>,
    /// In the order they lie in the file.
    pub tensors: Vec<GgufTensor>,
    /// What tensors begin on a multiple of.
    pub alignment: usize,
}

impl Default for GgufFile {
    fn default() -> Self {
        Self {
            version: 3,
            keys: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
        }
    }
}

impl GgufFile {
    /// Adds a key, or replaces its value.
    pub fn set(&mut self, key: &str, value: impl Into<GgufValue>) {
        self.keys.retain(|(known, _)| known != key);
        self.keys.push((key.to_owned(), value.into()));
    }

    /// Adds a tensor of `dims`, the slowest first as in a checkpoint.
    pub fn add(&mut self, name: &str, kind: u32, dims: &[u64], bytes: Vec<u8>) {
        self.tensors.push(GgufTensor {
            name: name.to_owned(),
            dims: dims.iter().rev().copied().collect(),
            kind,
            bytes,
        });
    }

    /// The tensor of that name.
    ///
    /// # Panics
    /// If there is none.
    pub fn tensor(&mut self, name: &str) -> &mut GgufTensor {
        let found = self.tensors.iter_mut().find(|tensor| tensor.name == name);
        found.unwrap_or_else(|| panic!("the file has no {name}"))
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            put_text(&mut file, key);
            value.put(&mut file);
        }
        let mut at = 0;
        for tensor in &self.tensors {
            put_text(&mut file, &tensor.name);
            file.extend((tensor.dims.len() as u32).to_le_bytes());
            for dim in &tensor.dims {
                file.extend(dim.to_le_bytes());
            }
            file.extend(tensor.kind.to_le_bytes());
            file.extend((at as u64).to_le_bytes());
            at += tensor.bytes.len().next_multiple_of(self.alignment);
        }
        for tensor in &self.tensors {
            file.resize(file.len().next_multiple_of(self.alignment), 0);
            file.extend(&tensor.bytes);
        }
        file
    }
}

impl GgufValue {
    fn put(&self, file: &mut Vec<u8>) {
        let mut number = |kind: u32, bytes: &[u8]| {
            file.extend(kind.to_le_bytes());
            file.extend(bytes);
        };
        match self {
            Self::U32(value) => number(4, &value.to_le_bytes()),
            Self::F32(value) => number(6, &value.to_le_bytes()),
            Self::Flag(flag) => number(7, &[u8::from(*flag)]),
            Self::Raw(kind, bytes) => number(*kind, bytes),
            Self::Text(text) => {
                number(8, &[]);
                put_text(file, text);
            }
            Self::Texts(texts) => {
                number(9, &8u32.to_le_bytes());
                file.extend((texts.len() as u64).to_le_bytes());
                texts.iter().for_each(|text| put_text(file, text));
            }
            Self::I32s(values) => {
                number(9, &5u32.to_le_bytes());
                file.extend((values.len() as u64).to_le_bytes());
                file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
    }
}

fn put_text(file: &mut Vec<u8>, text: &str) {
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text.as_bytes());
}
