/* Avro bodies in C: the same functions as `compiled` makes in Python, byte for byte, and about eight times as fast.
 *
 * Optional: built by `make native`, taken by `compiled` when it is there. It knows what our schemas use and nothing else; the plan of a
 * record is made in Python, a tuple of (field, code, extra). Everything holds the interpreter's lock.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

/* As in `compiled._CODES`. */
enum { LONG, STRING, BYTES, BOOLEAN, ENUM, MAP, LONGS, STRINGS, RECORDS };

/* Raise both this and `compiled._ABI` when codes or arguments change, so that an older build is left alone. */
#define ABI 1

/* The widest record has 46 fields. */
#define FIELDS_MAX 128
/* The usual record takes 400 bytes; a longer one goes on in memory of its own. */
#define ON_STACK 2048
/* Texts of the same field that come again are one object: what is longer is hardly ever the same. */
#define KEPT_MAX 64

typedef struct {
    PyObject *name;
    int code;
    PyObject *extra;    /* ENUM: symbol -> number when writing, tuple of symbols when reading; RECORDS: Encoder or Decoder */
    Py_ssize_t offset;  /* writing: where the attribute lies in `owner`, -1 when it has to be asked for */
    PyObject *kept;     /* reading: the text read last */
} Field;

/* --- both ----------------------------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    Py_ssize_t count;
    Field *fields;
    PyObject *header;   /* writing: bytes before the body */
    PyObject *owner;    /* writing: the class that the offsets are of; reading: the class to build */
} Plan;

static PyTypeObject EncoderType, DecoderType;

static int plan_traverse(Plan *self, visitproc visit, void *arg) {
    Py_VISIT(self->owner);
    for (Py_ssize_t i = 0; i < self->count; i++) Py_VISIT(self->fields[i].extra);
    return 0;
}

static int plan_clear(Plan *self) {
    Py_CLEAR(self->owner);
    for (Py_ssize_t i = 0; i < self->count; i++) {
        Py_CLEAR(self->fields[i].name);
        Py_CLEAR(self->fields[i].extra);
        Py_CLEAR(self->fields[i].kept);
    }
    return 0;
}

static void plan_dealloc(Plan *self) {
    PyObject_GC_UnTrack(self);
    plan_clear(self);
    Py_CLEAR(self->header);
    PyMem_Free(self->fields);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static Plan *plan_new(PyTypeObject *type, PyObject *fields, PyObject *header, PyObject *owner, vectorcallfunc call) {
    Py_ssize_t count = PyTuple_GET_SIZE(fields);
    if (count > FIELDS_MAX) {
        PyErr_Format(PyExc_ValueError, "a record of %zd fields, more than %d", count, FIELDS_MAX);
        return NULL;
    }
    Plan *self = (Plan *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->call = call;
    self->header = Py_XNewRef(header);
    self->owner = Py_XNewRef(owner);
    self->fields = PyMem_Calloc((size_t)(count ? count : 1), sizeof(Field));
    if (!self->fields) {
        Py_DECREF(self);
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        Field *field = &self->fields[i];
        PyObject *extra;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(fields, i), "UiO", &field->name, &field->code, &extra)) {
            field->name = NULL;
            Py_DECREF(self);
            return NULL;
        }
        Py_INCREF(field->name);
        field->extra = Py_NewRef(extra);
        self->count = i + 1;
        PyTypeObject *wanted = field->code == RECORDS ? type : field->code == ENUM ? (header ? &PyDict_Type : &PyTuple_Type) : NULL;
        if (field->code < LONG || field->code > RECORDS || (wanted && !Py_IS_TYPE(extra, wanted))) {
            PyErr_Format(PyExc_TypeError, "field %U: code %d with %R", field->name, field->code, extra);
            Py_DECREF(self);
            return NULL;
        }
    }
    return self;
}

/* --- writing -------------------------------------------------------------------------------------------------------------------- */

typedef struct {
    char *data;
    Py_ssize_t used, size;
    char stack[ON_STACK];
} Out;

/* Make room for `more` bytes; 0, or -1 with an error set. */
static int out_grow(Out *out, Py_ssize_t more) {
    if (more > PY_SSIZE_T_MAX / 2 - out->used) {
        PyErr_NoMemory();
        return -1;
    }
    Py_ssize_t size = (out->used + more) * 2;
    char *data = out->data == out->stack ? PyMem_Malloc((size_t)size) : PyMem_Realloc(out->data, (size_t)size);
    if (!data) {
        PyErr_NoMemory();
        return -1;
    }
    if (out->data == out->stack) memcpy(data, out->stack, (size_t)out->used);
    out->data = data;
    out->size = size;
    return 0;
}

#define ROOM(out, more) ((out)->size - (out)->used >= (more) || out_grow((out), (more)) == 0)

static int put_varint(Out *out, long long number) {
    unsigned long long left = ((unsigned long long)number << 1) ^ (unsigned long long)(number >> 63);
    if (!ROOM(out, 10)) return -1;
    char *at = out->data + out->used;
    while (left > 0x7F) {
        *at++ = (char)(left | 0x80);
        left >>= 7;
    }
    *at++ = (char)left;
    out->used = at - out->data;
    return 0;
}

static int put_data(Out *out, const char *data, Py_ssize_t size) {
    if (put_varint(out, size) < 0 || !ROOM(out, size)) return -1;
    memcpy(out->data + out->used, data, (size_t)size);
    out->used += size;
    return 0;
}

static int put_long(Out *out, PyObject *value) {
    int overflow;
    if (!PyLong_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%R is no integer", value);
        return -1;
    }
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow) {
        PyErr_Format(PyExc_OverflowError, "%S is no 64-bit integer", value);
        return -1;
    }
    return put_varint(out, number);
}

static int put_text(Out *out, PyObject *value) {
    Py_ssize_t size;
    if (PyUnicode_Check(value) && PyUnicode_IS_COMPACT_ASCII(value))
        return put_data(out, (const char *)PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value));
    if (!PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%R is no text", value);
        return -1;
    }
    const char *data = PyUnicode_AsUTF8AndSize(value, &size);
    return data ? put_data(out, data, size) : -1;
}

static int put_byte(Out *out, char byte) {
    if (!ROOM(out, 1)) return -1;
    out->data[out->used++] = byte;
    return 0;
}

static int put_map(Out *out, PyObject *value) {
    PyObject *key, *item;
    Py_ssize_t at = 0;
    if (!PyDict_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%R is no map", value);
        return -1;
    }
    if (PyDict_GET_SIZE(value) && put_varint(out, PyDict_GET_SIZE(value)) < 0) return -1;
    /* Writing a text runs no code of Python's, so the map stays as it is. */
    while (PyDict_Next(value, &at, &key, &item))
        if (put_text(out, key) < 0 || put_text(out, item) < 0) return -1;
    return put_byte(out, 0);
}

static int put_record(Out *out, Plan *plan, PyObject *record);

static int put_array(Out *out, Field *field, PyObject *value) {
    if (!PyTuple_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%U: %R is no tuple", field->name, value);
        return -1;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(value);
    if (count && put_varint(out, count) < 0) return -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(value, i);
        int failed = field->code == LONGS     ? put_long(out, item)
                     : field->code == STRINGS ? put_text(out, item)
                                              : put_record(out, (Plan *)field->extra, item);
        if (failed < 0) return -1;
    }
    return put_byte(out, 0);
}

static int put_value(Out *out, Field *field, PyObject *value) {
    PyObject *number;
    int truth;
    switch (field->code) {
    case LONG:
        return put_long(out, value);
    case STRING:
        return put_text(out, value);
    case BYTES:
        if (!PyBytes_Check(value)) {
            PyErr_Format(PyExc_TypeError, "%U: %R is no bytes", field->name, value);
            return -1;
        }
        return put_data(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
    case BOOLEAN:
        truth = PyObject_IsTrue(value);
        return truth < 0 ? -1 : put_byte(out, (char)truth);
    case ENUM:
        number = PyDict_GetItemWithError(field->extra, value);
        if (!number) {
            if (!PyErr_Occurred()) PyErr_SetObject(PyExc_KeyError, value);
            return -1;
        }
        return put_long(out, number);
    case MAP:
        return put_map(out, value);
    default:
        return put_array(out, field, value);
    }
}

/* Find where the attributes of a class lie, so that reading one costs no look-up. */
static void find_offsets(Plan *self, PyTypeObject *type) {
    Py_XSETREF(self->owner, Py_NewRef((PyObject *)type));
    for (Py_ssize_t i = 0; i < self->count; i++) {
        Field *field = &self->fields[i];
        PyObject *found = PyObject_GetAttr((PyObject *)type, field->name);
        field->offset = -1;
        if (!found) {
            PyErr_Clear();
            continue;
        }
        if (Py_IS_TYPE(found, &PyMemberDescr_Type)) {
            PyMemberDef *member = ((PyMemberDescrObject *)found)->d_member;
            if (member->type == T_OBJECT_EX && PyType_IsSubtype(type, PyDescr_TYPE(found))) field->offset = member->offset;
        }
        Py_DECREF(found);
    }
}

static int put_record(Out *out, Plan *plan, PyObject *record) {
    if ((PyObject *)Py_TYPE(record) != plan->owner) find_offsets(plan, Py_TYPE(record));
    for (Py_ssize_t i = 0; i < plan->count; i++) {
        Field *field = &plan->fields[i];
        PyObject *value = field->offset < 0 ? NULL : *(PyObject **)((char *)record + field->offset);
        if (value)
            Py_INCREF(value);
        else if (!(value = PyObject_GetAttr(record, field->name)))
            return -1;
        int failed = put_value(out, field, value);
        Py_DECREF(value);
        if (failed < 0) return -1;
    }
    return 0;
}

static PyObject *encoder_call(PyObject *callable, PyObject *const *args, size_t flags, PyObject *names) {
    Plan *self = (Plan *)callable;
    if (PyVectorcall_NARGS(flags) != 1 || (names && PyTuple_GET_SIZE(names))) {
        PyErr_SetString(PyExc_TypeError, "an encoder takes one record");
        return NULL;
    }
    Out out;
    PyObject *made = NULL;
    out.data = out.stack;
    out.used = 0;
    out.size = ON_STACK;
    Py_ssize_t size = PyBytes_GET_SIZE(self->header);
    if (ROOM(&out, size)) {
        memcpy(out.data, PyBytes_AS_STRING(self->header), (size_t)size);
        out.used = size;
        if (Py_EnterRecursiveCall(" while encoding") == 0) {
            if (put_record(&out, self, args[0]) == 0) made = PyBytes_FromStringAndSize(out.data, out.used);
            Py_LeaveRecursiveCall();
        }
    }
    if (out.data != out.stack) PyMem_Free(out.data);
    return made;
}

static PyObject *encoder_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *fields, *header;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "O!S", &PyTuple_Type, &fields, &header)) return NULL;
    return (PyObject *)plan_new(type, fields, header, NULL, encoder_call);
}

/* --- reading -------------------------------------------------------------------------------------------------------------------- */

typedef struct {
    const unsigned char *at, *end;
} In;

static int get_varint(In *in, long long *number) {
    unsigned long long found = 0;
    for (int shift = 0;; shift += 7) {
        if (in->at == in->end) {
            PyErr_SetString(PyExc_IndexError, "the bytes end before a number does");
            return -1;
        }
        unsigned char byte = *in->at++;
        if (shift == 63 && byte > 1) {
            PyErr_SetString(PyExc_ValueError, "a number of more than 64 bits");
            return -1;
        }
        found |= (unsigned long long)(byte & 0x7F) << shift;
        if (byte < 0x80) break;
    }
    *number = (long long)(found >> 1) ^ -(long long)(found & 1);
    return 0;
}

static int get_data(In *in, const char **data, Py_ssize_t *size) {
    long long length;
    if (get_varint(in, &length) < 0) return -1;
    if (length < 0 || length > in->end - in->at) {
        PyErr_SetString(PyExc_IndexError, "a text goes on beyond the end");
        return -1;
    }
    *data = (const char *)in->at;
    *size = (Py_ssize_t)length;
    in->at += length;
    return 0;
}

static PyObject *get_text(In *in) {
    const char *data;
    Py_ssize_t size;
    return get_data(in, &data, &size) < 0 ? NULL : PyUnicode_DecodeUTF8(data, size, NULL);
}

/* The text of a field; the same object as before when it is the same text, which saves the memory and the time of its hash. */
static PyObject *get_text_of(In *in, Field *field) {
    const char *data;
    Py_ssize_t size;
    if (get_data(in, &data, &size) < 0) return NULL;
    PyObject *kept = field->kept;
    if (kept && PyUnicode_GET_LENGTH(kept) == size && memcmp(PyUnicode_DATA(kept), data, (size_t)size) == 0) return Py_NewRef(kept);
    PyObject *made = PyUnicode_DecodeUTF8(data, size, NULL);
    if (made && size <= KEPT_MAX && PyUnicode_IS_COMPACT_ASCII(made)) Py_XSETREF(field->kept, Py_NewRef(made));
    return made;
}

/* The count of the next block of an array or a map, 0 at the end, -1 with an error set. */
static long long get_count(In *in) {
    long long count, bytes;
    if (get_varint(in, &count) < 0) return -1;
    if (count < 0) {
        if (count == LLONG_MIN) count++;
        count = -count;
        if (get_varint(in, &bytes) < 0) return -1;
    }
    if (count > in->end - in->at) {
        PyErr_SetString(PyExc_IndexError, "more items than bytes are left");
        return -1;
    }
    return count;
}

static PyObject *get_map(In *in) {
    PyObject *made = PyDict_New();
    long long count;
    if (!made) return NULL;
    while ((count = get_count(in)) > 0) {
        while (count--) {
            PyObject *key = get_text(in), *item = key ? get_text(in) : NULL;
            int failed = item ? PyDict_SetItem(made, key, item) : -1;
            Py_XDECREF(key);
            Py_XDECREF(item);
            if (failed < 0) goto fail;
        }
    }
    if (count == 0) return made;
fail:
    Py_DECREF(made);
    return NULL;
}

static PyObject *get_record(In *in, Plan *plan);

static PyObject *get_number(In *in) {
    long long number;
    return get_varint(in, &number) < 0 ? NULL : PyLong_FromLongLong(number);
}

static PyObject *get_array(In *in, Field *field) {
    long long count = get_count(in);
    if (count == 0) return PyTuple_New(0);
    PyObject *items = count < 0 ? NULL : PyList_New(0), *made = NULL;
    if (!items) return NULL;
    for (; count > 0; count = get_count(in)) {
        while (count--) {
            PyObject *item = field->code == LONGS     ? get_number(in)
                             : field->code == STRINGS ? get_text(in)
                                                      : get_record(in, (Plan *)field->extra);
            int failed = item ? PyList_Append(items, item) : -1;
            Py_XDECREF(item);
            if (failed < 0) goto done;
        }
    }
    if (count == 0) made = PyList_AsTuple(items);
done:
    Py_DECREF(items);
    return made;
}

static PyObject *get_value(In *in, Field *field) {
    const char *data;
    Py_ssize_t size;
    long long number;
    switch (field->code) {
    case LONG:
        return get_number(in);
    case STRING:
        return get_text_of(in, field);
    case BYTES:
        return get_data(in, &data, &size) < 0 ? NULL : PyBytes_FromStringAndSize(data, size);
    case BOOLEAN:
        if (in->at == in->end) {
            PyErr_SetString(PyExc_IndexError, "the bytes end before a truth value");
            return NULL;
        }
        if (*in->at > 1) {
            PyErr_SetString(PyExc_ValueError, "a truth value that is neither 0 nor 1");
            return NULL;
        }
        return PyBool_FromLong(*in->at++);
    case ENUM:
        if (get_varint(in, &number) < 0) return NULL;
        if (number < 0 || number >= PyTuple_GET_SIZE(field->extra)) {
            PyErr_SetString(PyExc_ValueError, "an enum value that has no symbol");
            return NULL;
        }
        return Py_NewRef(PyTuple_GET_ITEM(field->extra, number));
    case MAP:
        return get_map(in);
    default:
        return get_array(in, field);
    }
}

static PyObject *get_record(In *in, Plan *plan) {
    PyObject *values[FIELDS_MAX], *made = NULL;
    Py_ssize_t count = 0;
    while (count < plan->count && (values[count] = get_value(in, &plan->fields[count]))) count++;
    if (count == plan->count) made = PyObject_Vectorcall(plan->owner, values, (size_t)count, NULL);
    while (count--) Py_DECREF(values[count]);
    return made;
}

static PyObject *decoder_call(PyObject *callable, PyObject *const *args, size_t flags, PyObject *names) {
    if (PyVectorcall_NARGS(flags) != 2 || (names && PyTuple_GET_SIZE(names)) || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "a decoder takes bytes and where to begin");
        return NULL;
    }
    Py_ssize_t start = PyLong_AsSsize_t(args[1]), size = PyBytes_GET_SIZE(args[0]);
    if (start == -1 && PyErr_Occurred()) return NULL;
    if (start < 0 || start > size) {
        PyErr_SetString(PyExc_IndexError, "the record begins beyond the end");
        return NULL;
    }
    const unsigned char *data = (const unsigned char *)PyBytes_AS_STRING(args[0]);
    In in = {data + start, data + size};
    PyObject *record = get_record(&in, (Plan *)callable);
    return record ? Py_BuildValue("(Nn)", record, (Py_ssize_t)(in.at - data)) : NULL;
}

static PyObject *decoder_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *fields, *record;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "O!O", &PyTuple_Type, &fields, &record)) return NULL;
    return (PyObject *)plan_new(type, fields, NULL, record, decoder_call);
}

/* --- module --------------------------------------------------------------------------------------------------------------------- */

#define PLAN_TYPE(NAME, NEW, DOC)                                                                                                      \
    {                                                                                                                                  \
        PyVarObject_HEAD_INIT(NULL, 0).tp_name = "execpos.codecs._native." NAME, .tp_doc = DOC, .tp_basicsize = sizeof(Plan),         \
        .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL, .tp_new = NEW,                              \
        .tp_dealloc = (destructor)plan_dealloc, .tp_traverse = (traverseproc)plan_traverse, .tp_clear = (inquiry)plan_clear,          \
        .tp_call = PyVectorcall_Call, .tp_vectorcall_offset = offsetof(Plan, call),                                                   \
    }

static PyTypeObject EncoderType = PLAN_TYPE("Encoder", encoder_new, "Encoder(fields, header): a function from a record to its bytes.");
static PyTypeObject DecoderType = PLAN_TYPE("Decoder", decoder_new, "Decoder(fields, record): a function from (bytes, start) to (record, end).");

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_native", .m_doc = "Avro bodies in C.", .m_size = -1};

PyMODINIT_FUNC PyInit__native(void) {
    PyObject *made = PyModule_Create(&module);
    if (!made || PyModule_AddIntConstant(made, "ABI", ABI) < 0 || PyModule_AddType(made, &EncoderType) < 0 ||
        PyModule_AddType(made, &DecoderType) < 0) {
        Py_XDECREF(made);
        return NULL;
    }
    return made;
}
