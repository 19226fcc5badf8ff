// Stands where TVM's sources include the toolkit's header; nothing of it is used by the kernels.
#pragma once
