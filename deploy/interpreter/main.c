/* Python for nodes that have none: one file, linked statically, with its standard library behind it.
 *
 * The launcher needs an interpreter and no more than what is built into it. This one asks for no C
 * library, loader or directory of the node, whatever those are there: it imports from itself, as
 * from the zip file that pack.py has put behind the program.
 */
#include <Python.h>
#include <unistd.h>

static PyStatus import_from(PyConfig *config, const char *path)
{
    wchar_t *decoded = Py_DecodeLocale(path, NULL);
    PyStatus status;

    if (decoded == NULL)
        return PyStatus_NoMemory();
    config->module_search_paths_set = 1;
    status = PyWideStringList_Append(&config->module_search_paths, decoded);
    PyMem_RawFree(decoded);
    return status;
}

int main(int argc, char **argv)
{
    char here[4096];
    ssize_t length = readlink("/proc/self/exe", here, sizeof here - 1);
    PyConfig config;
    PyStatus status;

    PyConfig_InitPythonConfig(&config);
    config.pathconfig_warnings = 0; /* there is no directory to be missed */
    status = PyConfig_SetBytesArgv(&config, argc, argv);
    if (!PyStatus_Exception(status)) {
        here[length > 0 ? length : 0] = 0;
        status = import_from(&config, length > 0 ? here : argv[0]);
    }
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
    return Py_RunMain();
}
