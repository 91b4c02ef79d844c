//! Python's manners, as chat templates expect them: `json.dumps` and `strftime`.
//!
//! In: template values, a time. Out: text, byte for byte as CPython writes it. Work is charged to the template's budget.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::guard::{ESCAPE, MARK};

/// How deep a value may nest before it is refused.
const DEPTH_MAX: usize = 128;

/// The filter `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn to_json(
    state: &mut State<'_, '_>,
    value: &Value,
    ensure_ascii: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let ascii = match ensure_ascii {
        Some(ascii) => Some(ascii),
        None => options.get::<Option<bool>>("ensure_ascii")?,
    };
    let indent = options
        .get::<Option<Value>>("indent")?
        .filter(|value| !value.is_none());
    let indent = indent.as_ref().map(indent_from_value).transpose()?;
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(wrong("tojson: separators are two strings")),
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let ensure_ascii = ascii.unwrap_or(false);
    let mut writer = JsonWriter {
        state,
        out: String::new(),
        ensure_ascii,
        indent,
        item,
        key,
        sort_keys,
    };
    writer.value(value, 0)?;
    Ok(writer.out)
}

/// The test `iterable`: whatever Python's `iter` takes, so not None.
pub(super) fn is_iterable(value: &Value) -> bool {
    !value.is_none() && (value.kind() == ValueKind::String || value.try_iter().is_ok())
}

/// The test `sequence`: whatever has a length and items, so mappings and strings too.
pub(super) fn is_sequence(value: &Value) -> bool {
    use ValueKind::{Bytes, Map, Seq, String, Undefined};
    matches!(value.kind(), Seq | Map | String | Bytes | Undefined)
}

fn indent_from_value(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    let spaces = usize::try_from(value.clone())?;
    if spaces > 64 {
        Err(wrong("tojson: indent is too large"))
    } else {
        Ok(" ".repeat(spaces))
    }
}

fn wrong(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.into())
}

struct JsonWriter<'a, 't, 'e> {
    state: &'a mut State<'t, 'e>,
    out: String,
    ensure_ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort_keys: bool,
}

impl JsonWriter<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.state
            .consume_fuel(1 + value.as_str().map_or(0, str::len) as u64 / 16)?;
        if depth > DEPTH_MAX {
            return Err(wrong("tojson: the value nests too deep"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self
                .out
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => {
                let float = if value.is_integer() {
                    None
                } else {
                    f64::try_from(value.clone()).ok()
                };
                let text = float.map_or_else(|| value.to_string(), float_repr);
                self.out.push_str(&text);
            }
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            kind => return Err(wrong(format!("tojson: a value of type {kind} is not JSON"))),
        }
        Ok(())
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut empty = true;
        for item in value.try_iter()? {
            self.begin_item(empty, depth + 1);
            empty = false;
            self.value(&item, depth + 1)?;
        }
        self.end(empty, depth, ']');
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.sort_keys {
            keys.sort();
        }
        self.out.push('{');
        let mut empty = true;
        for key in keys {
            self.begin_item(empty, depth + 1);
            empty = false;
            let item = value.get_item(&key)?;
            match key.kind() {
                ValueKind::String => self.string(key.as_str().unwrap_or_default()),
                ValueKind::None => self.out.push_str("\"null\""),
                ValueKind::Bool => self.string(if key.is_true() { "true" } else { "false" }),
                ValueKind::Number => self.string(&key.to_string()),
                kind => return Err(wrong(format!("tojson: a key of type {kind} is not JSON"))),
            }
            self.out.push_str(&self.key);
            self.value(&item, depth + 1)?;
        }
        self.end(empty, depth, '}');
        Ok(())
    }

    fn begin_item(&mut self, first: bool, depth: usize) {
        if !first {
            self.out.push_str(&self.item);
        }
        self.new_line(depth);
    }

    fn end(&mut self, empty: bool, depth: usize, bracket: char) {
        if !empty {
            self.new_line(depth);
        }
        self.out.push(bracket);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                // Marks of the guard are no part of the text.
                MARK | ESCAPE => self.out.push(c),
                c if c < ' ' || (self.ensure_ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// A float as `json.dumps` writes it: the shortest digits that give it back, fixed from 1e-4 to below 1e16.
fn float_repr(x: f64) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let text = format!("{x:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if x != 0.0 && !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{x:?}"),
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// A time written by a `strftime` format, in UTC and English.
///
/// `unix_s` is in seconds since 1970.
pub(super) fn strftime(unix_s: i64, format: &str) -> Result<String, Error> {
    let time = Time::from_unix(unix_s);
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let (padded, code) = match chars.next() {
            Some('-') => (false, chars.next()),
            code => (true, code),
        };
        let code = code.ok_or_else(|| wrong("strftime: the format ends in %"))?;
        let text = time
            .field(code)
            .ok_or_else(|| wrong(format!("strftime: unknown %{code}")))?;
        let short = text.trim_start_matches('0');
        match short {
            _ if padded => out.push_str(&text),
            "" => out.push('0'),
            short => out.push_str(short),
        }
    }
    Ok(out)
}

struct Time {
    year: i64,
    /// From 0.
    month: usize,
    day: i64,
    day_of_year: i64,
    weekday: usize,
    second_of_day: i64,
}

impl Time {
    /// Proleptic Gregorian calendar, counted in eras of 400 years that begin on 1 March.
    fn from_unix(unix_s: i64) -> Self {
        let days = unix_s.div_euclid(86_400);
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * from_march + 2) / 153;
        let month = (march_month + 2) % 12;
        let year = year_of_era + era * 400 + i64::from(month < 2);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let before_march = 59 + i64::from(leap);
        let day_of_year = if month < 2 {
            from_march - 306
        } else {
            from_march + before_march
        } + 1;
        Time {
            year,
            month: month as usize,
            day: from_march - (153 * march_month + 2) / 5 + 1,
            day_of_year,
            weekday: (days + 4).rem_euclid(7) as usize,
            second_of_day: unix_s.rem_euclid(86_400),
        }
    }

    fn field(&self, code: char) -> Option<String> {
        let (hour, minute) = (self.second_of_day / 3_600, self.second_of_day / 60 % 60);
        let second = self.second_of_day % 60;
        let month = self.month + 1;
        Some(match code {
            'Y' => self.year.to_string(),
            'y' => format!("{:02}", self.year.rem_euclid(100)),
            'm' => format!("{month:02}"),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'B' => MONTHS[self.month].to_owned(),
            'b' | 'h' => MONTHS[self.month][..3].to_owned(),
            'A' => DAYS[self.weekday].to_owned(),
            'a' => DAYS[self.weekday][..3].to_owned(),
            'j' => format!("{:03}", self.day_of_year),
            'H' => format!("{hour:02}"),
            'I' => format!("{:02}", (hour + 11) % 12 + 1),
            'M' => format!("{minute:02}"),
            'S' => format!("{second:02}"),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'F' => format!("{}-{month:02}-{:02}", self.year, self.day),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            'Z' | 'z' => String::new(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (2.5, "2.5"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-3e-7, "-3e-07"),
            (123_456_789.125, "123456789.125"),
            (f64::INFINITY, "Infinity"),
            (f64::NAN, "NaN"),
        ];
        for (x, text) in cases {
            assert_eq!(float_repr(x), text);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let written = |unix_s| strftime(unix_s, "%a %d %b %Y %j %-d %I:%M:%S %p %%").unwrap();
        assert_eq!(written(0), "Thu 01 Jan 1970 001 1 12:00:00 AM %");
        assert_eq!(written(951_782_399), "Mon 28 Feb 2000 059 28 11:59:59 PM %");
        assert_eq!(written(951_782_400), "Tue 29 Feb 2000 060 29 12:00:00 AM %");
        assert_eq!(
            written(1_798_761_599),
            "Thu 31 Dec 2026 365 31 11:59:59 PM %"
        );
        assert_eq!(written(-1), "Wed 31 Dec 1969 365 31 11:59:59 PM %");
        assert!(strftime(0, "%Q").is_err());
    }
}
