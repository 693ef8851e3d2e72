/* placeholder until the ring has a module */
typedef int placeholder_t;
