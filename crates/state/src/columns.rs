//! One side of a file, the keys or the values: as a typed column where the type has one, as JSON text where it has not.
//!
//! What comes back is what went in, whatever the type. A typed column carries nearly every value; one it can't carry (it holds
//! `Some(None)`, or skips a field that can't be null) and every value of a side in JSON stands in a second column as exact
//! bytes, which are what is read back. JSON text is there for people and for other programs: it has no NaN and no keys but texts.

use crate::encoding;
use crate::fingerprint::{has_parquet_form, lines};
use crate::measure::measure;
use arrow_array::builder::BinaryBuilder;
use arrow_array::{Array, ArrayRef, BinaryArray, StringArray};
use arrow_schema::{DataType, Field, FieldRef};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_arrow::schema::{SchemaLike, TracingOptions};
use serde_arrow::{ArrayBuilder, Deserializer};
use std::any::type_name;
use std::sync::Arc;
use tidegate_core::{Error, Result};

/// Looks at a type that `serde_arrow` takes to know it: enough for an enum with a thousand variants.
const TRACES_MAX: usize = 1000;

#[derive(Serialize, Deserialize)]
/// Rows are structs to `serde_arrow`, so a value is wrapped in one.
struct Cell<T> {
    cell: T,
}

/// How one side is kept in a file.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    name: &'static str,
    /// Its type; `None`: JSON text.
    typed: Option<FieldRef>,
    lines: Vec<String>,
}

/// Some rows of one side, as arrays of the same length.
pub(crate) struct Written {
    /// The typed column or the JSON text.
    pub(crate) shown: ArrayRef,
    /// Exact bytes for those rows that need them; `None`: none does.
    pub(crate) exact: Option<ArrayRef>,
}

impl Column {
    /// How a `T` is kept in a column named `name`. The same in every run: it follows from the type alone.
    pub(crate) fn of<T: DeserializeOwned>(name: &'static str) -> Column {
        let options = TracingOptions::default()
            .allow_null_fields(true)
            .map_as_struct(false)
            .sequence_as_large_list(false)
            .strings_as_large_utf8(false)
            .bytes_as_large_binary(false)
            .enums_without_data_as_strings(true)
            .from_type_budget(TRACES_MAX);
        let traced = Vec::<FieldRef>::from_type::<Cell<T>>(options).ok().and_then(|mut fields| fields.pop());
        let mut text = Vec::new();
        let typed = match traced.filter(|field| has_parquet_form(field)) {
            Some(field) => {
                lines(name, &field, &mut text);
                Some(Arc::new(field.as_ref().clone().with_nullable(true)))
            }
            None => {
                text.push(format!("{name}: Json"));
                None
            }
        };
        Column { name, typed, lines: text }
    }

    /// One line for each column, which tell this type from another.
    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The field that is shown.
    pub(crate) fn shown_field(&self) -> Field {
        match &self.typed {
            Some(field) => field.as_ref().clone().with_name(self.name),
            None => Field::new(self.name, DataType::Utf8, true),
        }
    }

    /// The field of exact bytes.
    pub(crate) fn exact_field(&self) -> Field {
        Field::new(self.exact_name(), DataType::Binary, true)
    }

    /// Name of the column that is shown.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Name of the column of exact bytes.
    pub(crate) fn exact_name(&self) -> String {
        format!("{}_exact", self.name)
    }

    /// Writes `items`; nothing stands for `None`.
    ///
    /// # Errors
    /// `UserCode` when a value can't be serialised.
    pub(crate) fn write<T: Serialize>(&self, items: &[Option<&T>]) -> Result<Written> {
        match &self.typed {
            Some(field) => write_typed(field, items),
            None => write_json(items),
        }
    }

    /// Reads the rows that `is_there` says, from arrays of the same length.
    ///
    /// # Errors
    /// `Reconfigure` when a value is none of `T`: the type has changed in a way that its columns do not show.
    pub(crate) fn read<T: DeserializeOwned>(
        &self,
        shown: &ArrayRef,
        exact: Option<&ArrayRef>,
        is_there: impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<T>>> {
        let exact = exact.and_then(|array| array.as_any().downcast_ref::<BinaryArray>());
        let fields = self.typed.as_slice();
        let arrays = if fields.is_empty() { &[] } else { std::slice::from_ref(shown) };
        let typed = Deserializer::from_arrow(fields, arrays).map_err(|error| self.unreadable::<T>(error))?;
        let read = |at: usize| match exact.filter(|exact| exact.is_valid(at)) {
            _ if !is_there(at) => Ok(None),
            Some(exact) => {
                encoding::decode(exact.value(at)).map(Some).map_err(|error| self.unreadable::<T>(error))
            }
            None => {
                let item = typed.get(at).ok_or_else(|| self.unreadable::<T>("it has no exact bytes"))?;
                Cell::<T>::deserialize(item)
                    .map(|cell| Some(cell.cell))
                    .map_err(|error| self.unreadable::<T>(error))
            }
        };
        (0..shown.len()).map(read).collect()
    }

    fn unreadable<T>(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::reconfigure(format!(
            "column `{}` holds what is no `{}`, though its columns are the same: the type was changed; give it back its \
             former form, or give the state another uid to begin anew",
            self.name,
            type_name::<T>()
        ))
        .because(error)
    }
}

fn write_typed<T: Serialize>(field: &FieldRef, items: &[Option<&T>]) -> Result<Written> {
    let mut is_exact = Vec::with_capacity(items.len());
    for item in items {
        let hides = |item: &T| measure(item).map(|found| found.some_of_nothing);
        is_exact.push(item.map_or(Ok(false), hides).map_err(|error| cannot::<T>(error))?);
    }
    let typed = |at: usize, is_exact: &[bool]| items[at].filter(|_| !is_exact[at]);
    let shown = match array(field, (0..items.len()).map(|at| typed(at, &is_exact))) {
        Ok(array) => array,
        // Some value has no place in the column. Rare, so it is found by trying each alone.
        Err(_) => {
            for at in 0..items.len() {
                is_exact[at] |= array(field, [typed(at, &is_exact)].into_iter()).is_err();
            }
            array(field, (0..items.len()).map(|at| typed(at, &is_exact)))
                .map_err(|error| cannot::<T>(error))?
        }
    };
    let exact = is_exact.contains(&true).then(|| exact(items, &is_exact)).transpose()?;
    Ok(Written { shown, exact })
}

fn array<'a, T: Serialize + 'a>(
    field: &FieldRef,
    items: impl Iterator<Item = Option<&'a T>>,
) -> serde_arrow::Result<ArrayRef> {
    let mut builder = ArrayBuilder::from_arrow(std::slice::from_ref(field))?;
    for cell in items {
        builder.push(&Cell { cell })?;
    }
    let mut arrays = builder.into_arrow()?;
    Ok(arrays.pop().expect("one field gives one array"))
}

fn write_json<T: Serialize>(items: &[Option<&T>]) -> Result<Written> {
    // Text that JSON does not have (a map by tuples) is left out: it is only there to be looked at.
    let text = items.iter().map(|item| item.and_then(|item| serde_json::to_string(item).ok()));
    let is_exact: Vec<bool> = items.iter().map(Option::is_some).collect();
    Ok(Written { shown: Arc::new(text.collect::<StringArray>()), exact: Some(exact(items, &is_exact)?) })
}

fn exact<T: Serialize>(items: &[Option<&T>], is_exact: &[bool]) -> Result<ArrayRef> {
    let (mut builder, mut bytes) = (BinaryBuilder::new(), Vec::new());
    for (item, is_exact) in items.iter().zip(is_exact) {
        match item.filter(|_| *is_exact) {
            Some(item) => {
                encoding::encode(item, &mut bytes)?;
                builder.append_value(&bytes);
            }
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn cannot<T>(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::user_code(format!("a `{}` in a state can't be serialised", type_name::<T>())).because(error)
}
