/* Stands for the NVIDIA driver's libraries, libcuda.so.1 and libnvidia-ml.so.1, where there is no GPU: what it answers is
   told by variables. It shows what is done with an answer, and says nothing of any real driver. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

int cuInit(unsigned flags) {
    (void)flags;
    if (getenv("FAKE_CRASH")) raise(SIGSEGV);
    if (getenv("FAKE_HANG")) sleep(60);
    return number("FAKE_INIT", 0);
}

int cuDriverGetVersion(int *version) { *version = number("FAKE_VERSION", 13000); return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int length, int device) { (void)device; strncpy(name, "Fake GPU", length); return 0; }
int cuDeviceTotalMem_v2(size_t *size, int device) { (void)device; *size = 80000000000; return 0; }

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    int capability = number("FAKE_CAPABILITY", 90);
    *value = attribute == 75 ? capability / 10 : capability % 10;
    return 0;
}

int nvmlInit_v2(void) { return 0; }

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    const char *text = getenv("FAKE_DRIVER");
    strncpy(version, text ? text : "580.95.05", length);
    return 0;
}
